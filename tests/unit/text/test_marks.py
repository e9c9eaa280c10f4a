from kikitori.text.marks import marked_lines
from kikitori.types import Segment


def test_a_line_for_each_segment_with_its_time_and_speaker() -> None:
    segments = [
        Segment(id=0, start=0.0, end=1.0, text=" Hello\n there."),
        Segment(id=1, start=1.0, end=2.0, text=" "),
        Segment(id=2, start=3_723.2, end=3_724.0, text="はい。", speaker="left"),
    ]
    assert marked_lines(segments) == ["[0:00] Hello there.", "[1:02:03] left: はい。"]
