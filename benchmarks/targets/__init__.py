"""The targets exam: targets of the kinds that FreqAI users give, every model on the same rows.

    python -m benchmarks.targets run choose                       # everything that is missing
    python -m benchmarks.targets run choose --only lstm --seeds 1 --seeds 2
    python -m benchmarks.targets report choose                    # choose.json, .md and .svg

The features are those of freqtrade's own FreqAI example strategy (`TargetsStrategy`), the labels
are in `labels`, the contenders in `contenders`: a contender is a name, a FreqAI model and its part
of the configuration, so a new one is one entry there. Each runs through the real `freqtrade
backtesting`, walk-forward, on the candles of ../shared/candles. What is done already, with the
same settings, is kept in build/targets and not done again; `--again` does it anyway, which is
needed after a change of a model's code.

Ranges are in `setup.EXAMS`: `choose` may be looked at while models are chosen. `judge`, and the
small exams `score` (T one candle ahead), `five` (candles of 5 minutes) and `delisted` (pairs that
end), are run once, at the end, as PLAN.md says; their figures must not lead to another choice.
"""
