"""Mutants that nobody chose: which rule makes what of a small function."""

import subprocess

import pytest

from ringrig.campaign.csource import Source
from ringrig.campaign.generate import generate
from ringrig.campaign.instrument import place, weave


def made(body, *, file="kbuf.c", head="static int f(struct ctx *ctx, int a, int b)"):
    """What is made of one function with that body: {id without file and function: new text}."""
    found = generate({file: Source(f"{head}\n{{\n{body}\n}}\n")})
    assert all(one.origin == "generated" for one in found)
    assert len({one.id for one in found}) == len(found)
    return {one.id.removeprefix(f"{file}-f-"): one.edits[0].mutated for one in found}


@pytest.mark.parametrize(
    ("body", "mutants"),
    [
        ("return a < b;", {"lt-to-le-1": "a <= b", "lt-to-ge-1": "a >= b"}),
        ("return a != b;", {"ne-to-eq-1": "a == b"}),
        ("return a && b;", {"and-to-or-1": "a || b"}),
        ("return a || b || c;", {"or-to-and-1": "(a || b) && c", "or-to-and-2": "a && b"}),
        ("return a - b;", {"minus-to-plus-1": "a + b"}),
        ("return a - 1;", {"one-more-1": "2", "one-less-1": "0"}),
        ("return 0;", {"one-more-1": "1"}),
        ("return 0x10U;", {"one-more-1": "17", "one-less-1": "15"}),
        ("return -ENOENT;", {"errno-1": "-EINVAL"}),
        ("return -EINVAL;", {"errno-1": "-EFAULT"}),
        ("return g(a, b, b);", {"arguments-1": "g(b, a, b)"}),
        ("if (a) return b;", {"negated-1": "!(a)"}),
        ("if (a == b) return b;", {"eq-to-ne-1": "a != b"}),
        ("return a ? b : c;", {"negated-1": "!(a)"}),
        ("g(a, b);", {"arguments-1": "g(b, a);", "deleted-1": ""}),
        ("a = b;", {"deleted-1": ""}),
        ("while (a) break;", {"negated-1": "!(a)", "deleted-1": ""}),
    ],
)
def test_a_rule_makes_its_mutants(body, mutants):
    """One bug each."""
    assert made(body) == mutants


@pytest.mark.parametrize(
    "body", ["int a[4];", "return sizeof(struct { int a[4]; });", "/* a < 1 */;", 'char *s = "1 < 2";']
)
def test_what_the_compiler_must_know_stays(body):
    """Sizes, comments and texts."""
    assert not [id for id in made(body) if not id.startswith("deleted")]


def test_a_case_has_mutants_and_its_label_has_none():
    """The dispatch of io_uring_register() is one large switch."""
    found = made("switch (a) {\ncase 22:\n\tif (b != 1)\n\t\tbreak;\n\treturn 3;\n}")

    assert found == {
        "ne-to-eq-1": "b == 1", "one-more-1": "2", "one-less-1": "0", "deleted-1": "", "one-more-2": "4", "one-less-2": "2",
    }  # fmt: skip


def test_a_shared_file_is_mutated_where_it_deals_with_buffers():
    """In the statement itself, and in what hangs on a condition about them; kbuf.c in all of its lines."""
    body = (
        "a = b + c;\n"
        "a |= io_put_kbuf(req, ret);\n"
        "if (req->flags & REQ_F_BUFFER_SELECT)\n\tb = c + a;\n"
        "switch (op) {\ncase IORING_REGISTER_PBUF_RING:\n\tret = -EINVAL;\n\tbreak;\n"
        "case IORING_REGISTER_FILES:\n\tret = -EFAULT;\n\tbreak;\n}"
    )

    changed = made(body, file="net.c")

    assert changed["arguments-1"] == "io_put_kbuf(ret, req)"
    assert changed["plus-to-minus-1"] == "c - a"
    assert "plus-to-minus-2" not in changed
    assert [new for id, new in changed.items() if id.startswith("errno")] == ["-EFAULT"]
    assert made(body)["plus-to-minus-1"] == "b - c"


def test_the_kernels_own_words_are_no_obstacle():
    """Attributes that are not C; offsets stay those of the file, whatever a comment holds."""
    text = "/* © — */\nstatic int __cold f(void __user *p, int a) __must_hold(&ctx->lock)\n{\n\treturn a < 3;\n}\n"
    found = generate({"kbuf.c": Source(text)})

    assert {one.edits[0].mutated for one in found} == {"a <= 3", "a >= 3", "4", "2"}
    assert all(text[one.edits[0].at :].startswith(one.edits[0].original) for one in found)
    assert found[0].note == "line 4: a < 3 → a <= 3"


def test_all_of_a_function_together_compile(tmp_path):
    """Nested as they are, in one source."""
    text = (
        "// x\nint f(int a, int b)\n{\n\tint ret = 0;\n\n\tfor (int i = 0; i < a + b; i++) {\n"
        "\t\tif (i == 3 && b > 1)\n\t\t\tcontinue;\n\t\telse\n\t\t\tret += i;\n\t}\n"
        "\tswitch (a) {\n\tcase 1:\n\t\tret--;\n\t\tbreak;\n\t}\n\treturn ret ? ret : -22;\n}\n"
    )
    sources = {"kbuf.c": Source(text)}
    found = place(generate(sources), sources)
    (tmp_path / "mutants.h").write_text("extern int on;\n#define ringrig_at(n) (on == (n))\n")
    (tmp_path / "f.c").write_text(weave(text, found.spots["kbuf.c"]).text)

    done = subprocess.run(["gcc", "-c", "f.c"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert len(found.mutants) == 19
    assert (done.returncode, done.stderr) == (0, "")
