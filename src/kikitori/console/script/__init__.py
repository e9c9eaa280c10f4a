"""A folder for the script alone: Streamlit would take the modules of a folder ``pages`` beside it for scripts, too."""
