# freqtrade's own FreqAI image with this package in it. docs/install.md says how to build and run it.
FROM freqtradeorg/freqtrade:stable_freqai

# As the image's own user: freqtrade's packages lie in its home folder too.
COPY --chown=ftuser:ftuser . freqai-lstm/
RUN pip install --user --no-cache-dir "./freqai-lstm[tools]" \
    && rm -rf freqai-lstm \
    && python -m freqai_lstm init --userdir /freqtrade/user_data
