"""The Streamlit dashboard: thin pages that ask queries and draw."""
