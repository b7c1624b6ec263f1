"""Whatever an owner's file looks like, entering a name adds one piece to it and changes no other byte."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from client.site.pod_approval import enter
from fl_app.errors import UsageError
from fl_app.pod.pod_file import load_pod

NAME = "hospital-z"

comments = st.sampled_from(["", " # ours", "   # [not, a, list]", "\t# é ü 漢"])
quoted = st.sampled_from(["hospital-b", "'hospital-b'", '"hospital-b"'])
others = st.sampled_from(["hospital-c", '"1.5"', "'2024-01-01'", "h_c"])


@st.composite
def block_lists(draw: st.DrawFn) -> str:
    """Write approved_pods as a list of one name a line, indented somehow."""
    indent, gap = draw(st.sampled_from(["", " ", "  ", "      "])), draw(st.sampled_from([" ", "   "]))
    lines = [f"approved_pods:{draw(comments)}"]
    for name in (draw(quoted), *draw(st.lists(others, max_size=1))):
        lines += draw(st.sampled_from([[], [""], [f"{indent}# the next"]]))
        lines.append(f"{indent}-{gap}{name}{draw(comments)}")
    return "\n".join(lines)


@st.composite
def flow_lists(draw: st.DrawFn) -> str:
    """Write approved_pods as a list in brackets, spaced somehow, perhaps over several lines."""
    gap = draw(st.sampled_from(["", " ", "\n  ", "  "]))
    names = draw(
        st.sampled_from(["", "hospital-b", "'hospital-b', hospital-c", "hospital-b,hospital-c", "hospital-b,"])
    )
    return f"approved_pods: [{gap}{names}{gap}]{draw(comments)}"


ODD = st.sampled_from(["approved_pods: &them [hospital-b]", "approved_pods: []", "approved_pods: ~", "approved_pods:"])
POLICIES = st.sampled_from(
    [
        "policy: {minimum_cohort: 2,minimum_rows_per_class: 0x10}",
        "policy:\n     minimum_cohort:   2",
        '"policy":\n  # as agreed\n  minimum_cohort: 2\n\n\n  minimum_rows_per_class: 1_0',
        "",
    ]
)


@st.composite
def pod_files(draw: st.DrawFn) -> bytes:
    """Write a pod file as its owner may have left it."""
    head = ["name:   hospital-a", 'datasource: "CSVSource"', f"datasource_args: {{path: 'a.csv' }}{draw(comments)}"]
    parts = [*head, draw(POLICIES), draw(st.one_of(block_lists(), flow_lists(), ODD, st.just("")))]
    text = "\n".join(draw(st.permutations([part for part in parts if part])))
    text = draw(st.sampled_from(["", "---\n", "# a pod\n\n", "%YAML 1.1\n---\n"])) + text
    text += draw(st.sampled_from(["", "\n", "\n\n", "\n# the end", "\n...\n", "\n   \n"]))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()


@given(before=pod_files())
def test_a_name_is_entered_and_no_other_byte_changes(before: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a.yaml")
        path.write_bytes(before)
        try:
            pod = load_pod(path)
            entered = enter(path, NAME)
        except UsageError:
            assert path.read_bytes() == before
            return
        after = path.read_bytes()
        assert entered
        assert load_pod(path) == pod.model_copy(update={"approved_pods": (*pod.approved_pods, NAME)})
        added = len(after) - len(before)
        start = next(
            (place for place in range(len(before) + 1) if before == after[:place] + after[place + added :]), None
        )
        assert start is not None, "more than one place was changed"
        assert NAME.encode() in after[start : start + added]
        assert not enter(path, NAME)
