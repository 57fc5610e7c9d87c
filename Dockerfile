# freqtrade with this package, in the versions of constraints.txt. docs/install.md says how to build
# and run it. freqtrade's own image is on Python 3.14, for which no stable TensorFlow exists yet.
FROM python:3.13-slim-trixie

ENV LANG=C.UTF-8 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# OpenMP, which LightGBM and scikit-learn load, and freqtrade imports both.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home --shell /usr/sbin/nologin ftuser \
    && mkdir /freqtrade \
    && chown ftuser:ftuser /freqtrade

COPY pyproject.toml constraints.txt README.md LICENSE config.example.json config.spot.json config.risk.json /build/
COPY freqai_lstm /build/freqai_lstm
COPY user_data /build/user_data
COPY docs/symptoms.md /build/docs/symptoms.md
RUN pip install --constraint /build/constraints.txt "/build[tools]" \
    && rm -rf /build
# FreqUI, which freqtrade downloads from its own releases.
RUN freqtrade install-ui

# No root from here on; as in freqtrade's image the user has number 1000.
USER ftuser
WORKDIR /freqtrade
RUN freqtrade create-userdir --userdir user_data \
    && freqai-lstm init --userdir user_data

ENTRYPOINT ["freqtrade"]
CMD ["trade"]
