"""How the console looks: the paper, ink and red of the live page, by light and by dark."""

from __future__ import annotations

import json

SANS = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Hiragino Sans", "Yu Gothic UI", '
    '"Apple SD Gothic Neo", "Malgun Gothic", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK JP", sans-serif'
)
_BOTH = {"font": SANS, "headingFont": SANS, "baseRadius": "0.6rem", "showWidgetBorder": "true"}
THEMES = {
    "light": {
        "primaryColor": "#b93a26",
        "backgroundColor": "#faf8f3",
        "secondaryBackgroundColor": "#f1ede4",
        "textColor": "#1d1a16",
        "borderColor": "#e5e0d5",
        "linkColor": "#9d2f1d",
        "redColor": "#b93a26",
        "greenColor": "#2f6b47",
        "orangeColor": "#8a5a00",
    },
    "dark": {
        "primaryColor": "#e4674f",
        "backgroundColor": "#161412",
        "secondaryBackgroundColor": "#211e1b",
        "textColor": "#f4efe6",
        "borderColor": "#35302b",
        "linkColor": "#f07a62",
        "redColor": "#e4674f",
        "greenColor": "#7fc79c",
        "orangeColor": "#e3b35a",
    },
}


def theme_options() -> dict[str, str]:
    """Streamlit's options for it: ``theme.light.primaryColor`` and so on."""
    shared = {f"theme.{name}": value for name, value in _BOTH.items()}
    return shared | {f"theme.{kind}.{name}": value for kind, colors in THEMES.items() for name, value in colors.items()}


_BARS = '<rect width="32" height="32" rx="9" fill="#b93a26"/><path d="M8 14v4M12 10.5v11M16 7v18M20 11.5v9M24 14v4" \
stroke="#fff" stroke-width="2.4" stroke-linecap="round"/>'
MARK = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32">{_BARS}</svg>'
LOGO = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 190 32" width="190" height="32">
<style>text{{font:600 19px system-ui,sans-serif;fill:#1d1a16}}.ja{{font-size:13px;font-weight:400;fill:#716b60}}
@media (prefers-color-scheme:dark){{text{{fill:#f4efe6}}.ja{{fill:#a0978a}}}}</style>
{_BARS}<text x="42" y="22.500">Kikitori</text><text class="ja" x="124" y="22">聞き取り</text></svg>"""


def style(*, choose_files: str, drop_files: str, language: str) -> str:
    """What Streamlit's options do not say. ``choose_files`` stands on the button for files, ``drop_files`` beside it:
    Streamlit has English there, whatever the page speaks."""
    button, hint = (json.dumps(text, ensure_ascii=False) for text in (choose_files, drop_files))
    words = f"{UPLOADER} button p::after {{ content: {button}; }}\n{HINT}::after {{ content: {hint}; }}"
    return f"<style>{STYLE}\n{words}\n{KOREAN if language == 'ko' else ''}</style>"


KOREAN = ".stApp :is(p, h1, h2, h3) { word-break: keep-all; overflow-wrap: anywhere; }"
"""Lines are broken between its words, as its readers expect."""
UPLOADER = '[data-testid="stFileUploaderDropzone"]'
HINT = '[data-testid="stFileUploaderDropzoneInstructions"] span'
STYLE = f"""
[data-testid="stMainBlockContainer"] {{ max-width: 66rem; padding-top: 3.2rem; }}
[data-testid="stMainMenu"], [data-testid="stAppDeployButton"] {{ display: none; }}
[data-testid="stHeader"] {{ background: transparent; }}
/* What refreshes itself does not fade each time. */
[data-stale="true"], [data-testid="stTabs"] :is([role="tablist"], [role="tab"]) {{ opacity: 1 !important; }}
[data-testid="stLayoutWrapper"]:has(> .st-key-frame-tab) {{ display: none; }}
h1 {{ font-size: 2rem !important; font-weight: 650 !important; letter-spacing: -0.02em; padding: 0 !important; }}
{UPLOADER} {{ min-height: 7rem; align-items: center; justify-content: center; }}
{UPLOADER} {{ border: 1.5px dashed color-mix(in srgb, currentColor 28%, transparent); background: transparent; }}
{UPLOADER}:hover {{ border-color: currentColor; }}
{HINT} {{ font-size: 0; }}
{HINT}::after {{ font-size: 0.9rem; }}
{UPLOADER} button p {{ font-size: 0; }}
{UPLOADER} button p::after {{ font-size: 0.95rem; }}
[data-testid="stFileUploaderDropzoneInstructions"] {{ flex: 0 1 auto; }}
.st-key-file-player audio {{ color-scheme: light dark; }}
.st-key-file-player video {{ max-height: 24rem; border-radius: 0.8rem; }}
@media (max-width: 640px) {{
  [data-testid="stMainBlockContainer"] {{ padding: 3.5rem 1rem 4rem; }}
  h1 {{ font-size: 1.6rem !important; }}
}}
"""
