"""Kernel images of nothing but names."""

from ringrig.kernel import Image


def built_image(folder):
    """An image as a build leaves it in `folder`."""
    (folder / "boot").mkdir(parents=True)
    for name in ("boot/linux-6.12", "boot/config-6.12", "vmlinux", "built.json", "build.log"):
        (folder / name).write_text(name)
    return Image(
        spec="source:6.12",
        label="source:6.12 [uml]",
        path=folder / "boot/linux-6.12",
        release="6.12",
        build_id="abc",
        modules=None,
        config=folder / "boot/config-6.12",
        package=None,
        arch="um",
        vmlinux=folder / "vmlinux",
        lacks=("CONFIG_SMP",),
    )
