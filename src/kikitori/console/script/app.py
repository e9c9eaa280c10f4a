"""The script that Streamlit runs, for every session anew."""

from kikitori.console.frame import run

run()
