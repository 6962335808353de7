"""What the rig needs of a kernel's configuration, said before a boot is wasted on one that lacks it."""

from __future__ import annotations

import re

from ringrig.errors import GuestLacks
from ringrig.kernel.spec import Image

# Option and what it is for. A module does for those marked, if the image comes with modules: virtme-ng's
# initramfs loads what the root file system takes, the guest's start-up the rest.
_EVERYWHERE = (
    ("IO_URING", False, "the feature under test"),
    ("DEVTMPFS", False, "/dev"),
    ("TMPFS", False, "the writable parts of the root"),
    ("PROC_FS", False, "the oracles"),
    ("SYSCTL", False, "the oracles"),
    ("SYSFS", False, "the oracles"),
    ("UNIX", True, "the guest's SSH server"),
    ("BINFMT_ELF", False, "running anything"),
    ("BINFMT_SCRIPT", False, "running scripts"),
)
_NEEDED = {
    "x86": (
        *_EVERYWHERE,
        ("BLK_DEV_INITRD", False, "virtme-ng's initramfs"),
        ("SERIAL_8250_CONSOLE", False, "the console"),
        ("PCI", False, "virtio"),
        ("VIRTIO_PCI", True, "virtio"),
        ("VIRTIO_CONSOLE", True, "the channel to the guest"),
        ("NET_9P", True, "the root file system"),
        ("NET_9P_VIRTIO", True, "the root file system"),
        ("9P_FS", True, "the root file system"),
        ("OVERLAY_FS", True, "the writable parts of the root"),
    ),
    "um": (
        *_EVERYWHERE,
        ("HOSTFS", False, "the root file system"),
        ("SSL", False, "the channel to the guest"),
    ),
}


def requirements(image: Image) -> bool:
    """Checks the image's configuration; False if it comes without one, so that nothing could be checked.

    Raises GuestLacks, which names the options that are missing.
    """
    if image.config is None:
        return False
    text = image.config.read_text(errors="replace")
    values = dict(re.findall(r"^CONFIG_([A-Z0-9_a-z]+)=(.*)$", text, re.MULTILINE))
    missing = []
    for option, module_does, what_for in _NEEDED[image.arch]:
        value = values.get(option)
        if value == "m" and module_does and image.modules is None:
            missing.append(f"CONFIG_{option}=y ({what_for}; it is =m, and the image comes without modules)")
        elif value != "y" and not (value == "m" and module_does):
            missing.append(f"CONFIG_{option} ({what_for})")
    if missing:
        raise GuestLacks(
            f"{image.label} is built without what the rig needs:\n    " + "\n    ".join(missing),
            next_step="switch these options on and build it again",
        )
    return True
