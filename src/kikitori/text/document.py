"""A transcript as a document for word processors: a title, what was heard, and paragraphs with their times."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from docx import Document
from docx.enum.text import WD_TAB_ALIGNMENT
from docx.opc.constants import RELATIONSHIP_TYPE as RT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Mm, Pt, RGBColor

from kikitori.text.durations import human_duration
from kikitori.text.languages import language_name
from kikitori.text.paragraphs import Paragraph, paragraphs
from kikitori.types import Transcript

if TYPE_CHECKING:
    from docx.document import Document as Docx
    from docx.styles.style import ParagraphStyle
    from docx.text.paragraph import Paragraph as DocxParagraph

UNTITLED = "Transcript"
LATIN_FONT, EAST_ASIAN_FONTS = "Calibri", {"ja": "Yu Gothic", "ko": "Malgun Gothic", "zh": "Microsoft YaHei"}
TEXT_POINTS, TIME_POINTS = 11, 9
GREY = RGBColor(0x6B, 0x72, 0x80)
MARGIN_CM = 2.5
TIME_COLUMN_CM = 1.9
"""Times stand in a column of their own, left of the text."""
LINE_SPACING = 1.25
MAX_TITLE = 200
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What XML has no place for."""


def write_docx(transcript: Transcript, *, title: str = "", speakers: bool = True) -> bytes:
    """The whole file; ``speakers`` writes who speaks before what was said, where that is known."""
    document = Document()
    _drop_thumbnail(document)
    name = _writable(" ".join(title.split()))[:MAX_TITLE] or UNTITLED
    _describe(document, name, transcript.language)
    _set_page(document)
    _set_fonts(document, transcript.language)
    document.add_heading(name, level=0)
    _add_facts(document, transcript)
    for paragraph in paragraphs(transcript.segments):
        _add(document, paragraph, speakers=speakers)
    _number_pages(document)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def _drop_thumbnail(document: Docx) -> None:
    """The template has a picture of itself, which file managers would show for every document."""
    links = document.part.package.rels
    for name in [name for name, link in links.items() if link.reltype == RT.THUMBNAIL]:
        del links[name]


def _describe(document: Docx, title: str, language: str) -> None:
    facts = document.core_properties
    facts.title, facts.author, facts.comments, facts.language = title, "Kikitori", "", language


def _set_page(document: Docx) -> None:
    section = document.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Cm(MARGIN_CM)


def _set_fonts(document: Docx, language: str) -> None:
    """One font for all scripts of the document; without a name of its own, Word takes Song type for Japanese."""
    for name, points in (("Normal", TEXT_POINTS), ("Title", 20)):
        style: ParagraphStyle = document.styles[name]
        style.font.name, style.font.size = LATIN_FONT, Pt(points)
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        for theme in ("w:asciiTheme", "w:hAnsiTheme", "w:eastAsiaTheme", "w:cstheme"):
            fonts.attrib.pop(qn(theme), None)
        fonts.set(qn("w:eastAsia"), EAST_ASIAN_FONTS.get(language, EAST_ASIAN_FONTS["ja"]))
    title: ParagraphStyle = document.styles["Title"]
    title.font.color.rgb = RGBColor(0x1F, 0x29, 0x37)


def _add_facts(document: Docx, transcript: Transcript) -> None:
    """``3:25 · Japanese · large-v3``."""
    language = language_name(transcript.language).capitalize() if transcript.language else ""
    facts = [human_duration(transcript.duration), language, transcript.model]
    paragraph = document.add_paragraph()
    paragraph.paragraph_format.space_after = Pt(14)
    _grey(paragraph, " · ".join(_writable(fact) for fact in facts if fact))


def _add(document: Docx, paragraph: Paragraph, *, speakers: bool) -> None:
    added = document.add_paragraph()
    form = added.paragraph_format
    form.left_indent, form.first_line_indent = Cm(TIME_COLUMN_CM), Cm(-TIME_COLUMN_CM)
    form.tab_stops.add_tab_stop(Cm(TIME_COLUMN_CM), WD_TAB_ALIGNMENT.LEFT)
    form.space_after, form.line_spacing = Pt(8), LINE_SPACING
    _grey(added, f"{human_duration(paragraph.start)}\t")
    if paragraph.speaker and speakers:
        added.add_run(_writable(f"{paragraph.speaker}: ")).bold = True
    added.add_run(_writable(paragraph.text))


def _grey(paragraph: DocxParagraph, text: str) -> None:
    run = paragraph.add_run(text)
    run.font.color.rgb, run.font.size = GREY, Pt(TIME_POINTS)


def _number_pages(document: Docx) -> None:
    """A field in the footer: word processors fill it in."""
    paragraph = document.sections[0].footer.paragraphs[0]
    paragraph.alignment = 1  # centred
    run = paragraph.add_run()
    run.font.color.rgb, run.font.size = GREY, Pt(TIME_POINTS)
    for kind, text in (("begin", ""), ("", "PAGE"), ("end", "")):
        element = OxmlElement("w:fldChar" if kind else "w:instrText")
        if kind:
            element.set(qn("w:fldCharType"), kind)
        element.text = text or None
        run._r.append(element)


def _writable(text: str) -> str:
    return UNWRITABLE.sub("", text)
