"""`freqtrade webserver` and a page of what FreqUI draws from its answers."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from pandas import DataFrame
from plotly.subplots import make_subplots


PANEL = 0.2  # height of a subplot, of the whole


@contextmanager
def webserver(folder: Path, arguments: Sequence[str]) -> Iterator[Callable[..., Any]]:
    """`freqtrade webserver` on loopback, secrets by environment; a function that asks it.

    :param folder: where it runs; its output is in `webserver.log` there.
    :param arguments: configurations and folders.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"enabled": True, "listen_ip_address": "127.0.0.1", "listen_port": port}
    secrets = {"username": "", "password": "", "jwt_secret_key": ""}
    third = folder / "api.json"
    third.write_text(json.dumps({"api_server": settings | secrets}))
    password = os.urandom(12).hex()
    env = {
        "FREQTRADE__API_SERVER__USERNAME": "me",
        "FREQTRADE__API_SERVER__PASSWORD": password,
        "FREQTRADE__API_SERVER__JWT_SECRET_KEY": os.urandom(32).hex(),
    }
    log = (folder / "webserver.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "freqtrade", "webserver", *arguments, "-c", str(third)],
        cwd=folder,
        env={**os.environ, **env},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    pass_phrase = base64.b64encode(f"me:{password}".encode()).decode()

    def ask(path: str, password: str = pass_phrase) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/{path}")
        request.add_header("Authorization", f"Basic {password}")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.add_note(error.read().decode())
            raise

    try:
        for _ in range(240):
            assert process.poll() is None, Path(log.name).read_text()
            try:
                ask("ping")
                break
            except urllib.error.URLError:
                time.sleep(0.5)
        yield ask
    finally:
        # The first one shuts the server down, but a thread of freqtrade's keeps the process.
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
                break
        process.kill()
        process.wait()
        log.close()


def chart(plot: dict[str, Any], history: dict[str, Any]) -> go.Figure:
    """Draw candles, lines, bands and marked areas as FreqUI does.

    :param plot: the answer of `/plot_config`; a line whose column is missing is left out.
    :param history: the answer of `/pair_history`.
    """
    frame = DataFrame(history["data"], columns=history["columns"])
    panels = {"": plot["main_plot"], **plot["subplots"]}
    below = len(panels) - 1
    heights = [1 - below * PANEL, *[PANEL] * below]
    shape = {"shared_xaxes": True, "row_heights": heights, "vertical_spacing": 0.03}
    figure = make_subplots(len(panels), 1, **shape)
    prices = {name: frame[name] for name in ("open", "high", "low", "close")}
    figure.add_candlestick(x=frame["date"], **prices, name=history["pair"], row=1, col=1)
    for row, (title, lines) in enumerate(panels.items(), 1):
        figure.update_yaxes(title=title, row=row, col=1)
        for name, look in lines.items():
            if name not in frame:
                continue
            line = {"color": look.get("color"), "width": 1.2}
            points = {"x": frame["date"], "row": row, "col": 1, "showlegend": False}
            figure.add_scatter(y=frame[name], name=name, line=line, **points)
            if look.get("fill_to") in frame:
                figure.add_scatter(
                    y=frame[look["fill_to"]],
                    name=f"{name}<>{look['fill_to']}",
                    line={"width": 0},
                    fill="tonexty",
                    fillcolor="rgba(159, 180, 204, 0.25)",
                    **points,
                )
    for area in history["annotations"]:
        figure.add_vrect(
            x0=area["start"],
            x1=area["end"],
            fillcolor=area["color"],
            annotation={"text": area["label"], "yanchor": "bottom"},
            annotation_position="top left",
            line_width=0,
            layer="below",
            row=1,
            col=1,
        )
    figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 40, "b": 30},
        xaxis_rangeslider_visible=False,
        showlegend=False,
    )
    return figure
