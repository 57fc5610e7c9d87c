# freqtrade's own FreqAI image with this package in it. docs/install.md says how to build and run it.
FROM freqtradeorg/freqtrade:stable_freqai

# As the image's own user: freqtrade's packages lie in its home folder too.
COPY --chown=ftuser:ftuser . /tmp/freqai-lstm
RUN pip install --user --no-cache-dir "/tmp/freqai-lstm[tools]" \
    && rm -rf /tmp/freqai-lstm \
    && python -m freqai_lstm init --userdir /freqtrade/user_data
