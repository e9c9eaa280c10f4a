"""Languages as Google names them: with a region."""

from __future__ import annotations

from collections.abc import Sequence

AUTO = "auto"
"""Google finds the language, with models that can."""
FIRST = ("en-US",)
"""Where neither client nor operator says what is spoken."""
_REGIONS = dict(
    part.split("=")
    for part in (
        "af=af-ZA am=am-ET ar=ar-EG az=az-AZ bg=bg-BG bn=bn-BD bs=bs-BA ca=ca-ES cs=cs-CZ cy=cy-GB da=da-DK de=de-DE "
        "el=el-GR en=en-US es=es-ES et=et-EE eu=eu-ES fa=fa-IR fi=fi-FI fr=fr-FR gl=gl-ES gu=gu-IN he=iw-IL hi=hi-IN "
        "hr=hr-HR hu=hu-HU hy=hy-AM id=id-ID is=is-IS it=it-IT ja=ja-JP jw=jv-ID ka=ka-GE kk=kk-KZ km=km-KH kn=kn-IN "
        "ko=ko-KR lo=lo-LA lt=lt-LT lv=lv-LV mk=mk-MK ml=ml-IN mn=mn-MN mr=mr-IN ms=ms-MY my=my-MM ne=ne-NP nl=nl-NL "
        "no=no-NO pa=pa-Guru-IN pl=pl-PL ps=ps-AF pt=pt-BR ro=ro-RO ru=ru-RU si=si-LK sk=sk-SK sl=sl-SI sq=sq-AL "
        "sr=sr-RS su=su-ID sv=sv-SE sw=sw-KE ta=ta-IN te=te-IN th=th-TH tl=fil-PH tr=tr-TR uk=uk-UA ur=ur-PK uz=uz-UZ "
        "vi=vi-VN yue=yue-Hant-HK zh=cmn-Hans-CN"
    ).split()
)
_OURS = {"cmn": "zh", "fil": "tl", "iw": "he", "jv": "jw", "nb": "no"}


def tags(language: str | None, preferred: Sequence[str]) -> list[str]:
    """What Google is to listen for: the regions the operator prefers, else the usual ones."""
    if language is None:
        return list(preferred or FIRST)
    return [tag for tag in preferred if primary(tag) == language] or [_REGIONS.get(language, language)]


def primary(tag: str) -> str:
    """Our code: ``cmn-hans-cn`` is ``zh``."""
    code = tag.partition("-")[0].lower()
    return _OURS.get(code, code)
