"""The page, for `streamlit run app.py`: all of it is in vehicle_nb/serving/web, and `vehicle_app` starts it, too."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    print(f"This file is a page, not a program. Start it with: streamlit run {sys.argv[0]}", file=sys.stderr)
    sys.exit(2)

import streamlit as st

from vehicle_nb.serving.server import configure_server

if not Path("models").is_dir() and (beside := Path(__file__).with_name("models")).is_dir():
    os.environ.setdefault("VEHICLE_RUNS", str(beside))
app = st.App(**configure_server())
