"""The pages of the dashboard, and nothing else."""

from pathlib import Path

import streamlit as st

from tunesmith_dashboard.reading import told

HERE = Path(__file__).parent

# A named icon would be fetched from a server of somebody else's.
st.set_page_config(page_title="Tunesmith", page_icon=HERE / "icon.svg", layout="wide")
st.html(HERE / "style.css")
page = st.navigation(
    [
        st.Page("app_pages/runs.py", title="Runs", icon=":material/history:", default=True),
        st.Page("app_pages/run.py", title="Run", icon=":material/monitoring:"),
        st.Page("app_pages/label.py", title="Label", icon=":material/thumbs_up_down:"),
        st.Page("app_pages/playground.py", title="Playground", icon=":material/science:"),
        st.Page("app_pages/models.py", title="Models", icon=":material/deployed_code:"),
    ],
    position="top",
)
with told():
    page.run()
