"""A campaign of mutants, judged as one likes, for its reports' tests."""

from ringrig.campaign.baseline import Baseline
from ringrig.campaign.instrument import Spot
from ringrig.campaign.mutants import Edit, Mutant
from ringrig.campaign.result import Campaign
from ringrig.campaign.trial import Kill, Verdict

KBUF = '/* A <ring> & its buffers */\nint f(int a)\n{\n\tif (a < 1 && !strcmp(b, "</details>"))\n\t\treturn -EINVAL;\n}\n'
NET = "".join(f"line {number};\n" for number in range(1, 41))
KILL = Kill(case="test_a.py::test_x[<b>]", how="errno", what="got -EINVAL, want <-ENOENT>", times=3, tries=3)
DOUBT = Kill(case="test_a.py::test_y", how="value", what="1 == 2", times=1, tries=3)


def mutant(id, *, file="kbuf.c", original="a < 1", mutated="a <= 1", origin="chosen", **facts):
    edit = Edit(file=file, function="f", kind="expr", original=original, mutated=mutated)
    return Mutant(id=id, origin=origin, edits=(edit,), note=f"what {id} <does>", **facts)


VERDICTS = [
    Verdict(mutant=mutant("killed-one"), result="killed", kills=[KILL], cases=5),
    Verdict(mutant=mutant("survived-one", origin="generated"), result="survived", cases=4),
    Verdict(mutant=mutant("flaky-one"), result="flaky", doubts=[DOUBT], cases=3),
    Verdict(mutant=mutant("unreached-one", file="net.c", original="line 20"), result="unreached"),
    Verdict(mutant=mutant("same-one", equivalent="nobody"), result="equivalent", why="nobody"),
    Verdict(mutant=mutant("needs-one", needs="kasan"), result="needs", why="kasan"),
    Verdict(mutant=mutant("stale-one"), result="stale", why="the text is not in f"),
    Verdict(mutant=mutant("refused-one", origin="generated"), result="refused", why="expected ‘;’"),
]


def campaign(folder, *verdicts, **facts):
    """One with these verdicts, in this folder."""
    texts = {"kbuf.c": KBUF, "net.c": NET}
    spots, ids = {}, {}
    for number, one in enumerate(verdicts, start=1):
        ids[number] = one.mutant.id
        edit = one.mutant.edits[0]
        start = texts[edit.file].index(edit.original)
        if one.result not in ("stale", "refused"):
            spot = Spot(number=number, start=start, end=start + len(edit.original), edit=edit)
            spots.setdefault(edit.file, []).append(spot)
    made = Campaign(
        folder=folder,
        label="source:6.12 [uml, 8 mutants]",
        guest="uml",
        rerun=("--kernel=source:6.12",),
        texts=texts,
        spots=spots,
        ids=ids,
        baseline=Baseline(reached={"test_a.py::test_x[<b>]": [1]}, seconds={}, left_out={}, alone=[]),
        judging_seconds=10.0,
        **facts,
    )
    for one in verdicts:
        made.add(one)
    return made
