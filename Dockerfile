# freqtrade's own FreqAI image with what the two plugin files need on top. docs/install.md says how
# to build and run it. The image has scikit-learn, LightGBM and XGBoost, but no TensorFlow.
FROM freqtradeorg/freqtrade:stable_freqai

# As the image's own user: freqtrade's packages lie in its home folder too.
RUN pip install --user --no-cache-dir "tensorflow==2.21.0" "keras==3.15.1"

# For runs without a mounted user_data. A mount on /freqtrade/user_data hides these files: then the
# mounted folder has to hold them, as it does when this repository's user_data is mounted.
COPY --chown=ftuser:ftuser user_data/freqaimodels/LSTMRegressor.py /freqtrade/user_data/freqaimodels/
COPY --chown=ftuser:ftuser user_data/strategies/ScoreStrategy.py /freqtrade/user_data/strategies/
COPY --chown=ftuser:ftuser config.example.json config.spot.json /freqtrade/
