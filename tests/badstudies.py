"""Study files that must be refused in one line: name -> (text, fragment of the message, exit code)."""

GOOD = """
name = "small"
[market]
bars = "bars.csv"
[features]
expressions = { r1 = "close / ref(close, 1) - 1", r5 = "close / ref(close, 5) - 1" }
[split]
train = 60
valid = 20
test = 20
[[models]]
kind = "ridge"
"""


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


BAD_STUDIES = {
    "not_toml": ("name = = 3", "not valid TOML", 2),
    "unclosed_string": ('name = "x', "not valid TOML", 2),
    "empty": ("", "setting 'market.bars' is missing", 2),
    "unknown_top": (GOOD.replace("[market]", "sede = 3\n[market]"), "did you mean 'seed'?", 2),
    "unknown_in_table": (changed("bars =", 'bar = "x"\nbars ='), "did you mean 'bars'?", 2),
    "unknown_model": (changed('"ridge"', '"ridg"'), "did you mean 'ridge'?", 2),
    "unknown_model_setting": (changed('"ridge"', '"lstm"\nhiden = 3'), "did you mean 'hidden'?", 2),
    "model_setting_type": (changed('"ridge"', '"lstm"\nhidden = "3"'), "must be int", 2),
    "model_without_kind": (changed('kind = "ridge"', "alpha = 1.0"), "unknown model", 2),
    "models_empty": ("models = []\n" + changed('[[models]]\nkind = "ridge"', ""), "setting 'models'", 2),
    "seed_text": ("seed = 'seven'\n" + GOOD, "setting 'seed'", 2),
    "seed_negative": ("seed = -1\n" + GOOD, "setting 'seed'", 2),
    "name_with_slash": (changed('"small"', '"../x"'), "setting 'name'", 2),
    "horizon_zero": (GOOD + "\n[label]\nhorizons = [0]", "label.horizons", 2),
    "horizon_empty": (GOOD + "\n[label]\nhorizons = []", "label.horizons", 2),
    "entry_unknown": (GOOD + '\n[label]\nentry = "same_close"', "label.entry", 2),
    "negative_ref": (changed("ref(close, 5)", "ref(close, -5)"), "rows up to t are known", 2),
    "syntax": (changed("ref(close, 5)", "ref(close, 5"), "", 2),
    "unknown_function": (changed("ref(close, 5)", "reff(close, 5)"), "ref", 2),
    "attribute": (changed("ref(close, 5)", "close.__class__"), "", 2),
    "unknown_set": (changed("expressions = {", 'set = "alpha9000"\nexpressions = {'), "alpha9000", 2),
    "no_features": (GOOD[: GOOD.index("expressions")] + GOOD[GOOD.index("[split]") :], "features", 2),
    "missing_field": (changed("ref(close, 5)", "ref(open, 5)"), "open", 3),
    "split_too_long": (changed("train = 60", "train = 6000"), "shorten train or valid", 2),
    "split_float": (changed("train = 60", "train = 6.5"), "split.train", 2),
    "split_span": (changed("train = 60", 'train = "5 years"'), "split.train", 2),
    "dates_overlap": (
        changed(
            "train = 60\nvalid = 20\ntest = 20",
            'kind = "dates"\ntrain = [2015-01-01, 2015-06-30]\nvalid = [2015-06-01, 2015-07-31]\n'
            "test = [2015-08-01, 2015-12-31]",
        ),
        "without overlap",
        2,
    ),
    "dates_empty": (
        changed(
            "train = 60\nvalid = 20\ntest = 20",
            'kind = "dates"\ntrain = [2001-01-01, 2001-06-30]\nvalid = [2001-07-01, 2001-07-31]\n'
            "test = [2001-08-01, 2001-12-31]",
        ),
        "holds no bar",
        2,
    ),
    "fee_negative": (GOOD + "\n[exchange]\nfee_bps = -1.0", "exchange.fee_bps", 2),
    "fee_nan": (GOOD + "\n[exchange]\nfee_bps = nan", "exchange.fee_bps", 2),
    "capital_zero": (GOOD + "\n[exchange]\ncapital = 0.0", "exchange.capital", 2),
    "fill_unknown": (GOOD + '\n[exchange]\nfill = "vwap"', "exchange.fill", 2),
    "output_beyond": (GOOD + "\n[[portfolio]]\noutput = 3", "label.horizons", 2),
    "bars_missing": (changed("bars.csv", "nothere.csv"), "nothere.csv", 3),
    "sample_unknown": (changed("bars.csv", "sample:us30"), "us20", 3),
    "restated": (changed('bars = "bars.csv"', 'bars = "sample:us20"'), "restated", 3),
    "calendar_unknown": (changed("bars =", 'calendar = "XMARS"\nbars ='), "XMARS", 2),
    "membership_missing": (changed("bars =", 'membership = "m.parquet"\nbars ='), "m.parquet", 3),
    "start_after_end": (changed("bars =", "start = 2030-01-01\nbars ="), "dates", 3),
    "k_zero": (GOOD + "\n[[portfolio]]\nk = 0", "portfolio", 2),
    "argument_base": ("base = 3\n" + GOOD, "unknown setting 'base'", 2),
    "argument_where": ("where = 'x'\n" + GOOD, "unknown setting 'where'", 2),
    "argument_panel": ("panel = 3\n" + GOOD, "unknown setting 'panel'", 2),
    "bars_at_the_top": ("bars = 'bars.csv'\n" + GOOD, "unknown setting 'bars'", 2),
    "market_number": ("market = 3\n" + GOOD[GOOD.index("[features]") :], "setting 'market' must be a table, got 3", 2),
    "models_number": ("models = 3\n" + changed('[[models]]\nkind = "ridge"', ""), "setting 'models' must be a list", 2),
    "portfolio_number": ("portfolio = 3\n" + GOOD, "setting 'portfolio'", 2),
    "models_texts": (
        "models = ['ridge']\n" + changed('[[models]]\nkind = "ridge"', ""),
        "models: 'ridge' has no fit",
        2,
    ),
    "features_number": (
        "features = 3\n" + GOOD[: GOOD.index("[features]")] + GOOD[GOOD.index("[split]") :],
        "setting 'features'",
        2,
    ),
    "device_unknown": (GOOD + '\n[compute]\ndevice = "gpu"', "compute.device", 2),
    "device_absent": (GOOD + '\n[compute]\ndevice = "cuda:7"', "device 'cuda:7' was asked for", 2),
    "threads_zero": (GOOD + "\n[compute]\nthreads = 0", "compute.threads", 2),
    "precision_unknown": (GOOD + '\n[compute]\nprecision = "half"', "compute.precision", 2),
    "precision_refused": (GOOD + '\n[compute]\nprecision = "tf32"', "the probe failed", 2),
    "loss_unknown": (changed('"ridge"', '"gru"\nloss = "rmse"'), "gru: loss 'rmse' is not known", 2),
    "schedule_unknown": (changed('"ridge"', '"mlp"\nschedule = "steps"'), "mlp: schedule 'steps' is not known", 2),
    "quantiles_text": (changed('"ridge"', '"lstm"\nquantiles = "0.5"'), "must be tuple", 2),
    "classes_of_zscores": (changed('"ridge"', '"lstm"\nloss = "cross_entropy"'), "wants target = 'cs_rank'", 2),
    "taus_falling": (changed('"ridge"', '"markov_ridge"\ntaus = [5, 1]'), "taus must be rising whole numbers", 2),
    "ensemble_of_nothing": (changed('"ridge"', '"ensemble"'), "models.0", 2),
    "ensemble_of_text": (changed('"ridge"', '"ensemble"\nof = "lstm"'), "of must be a model", 2),
    "ensemble_of_ridge": (changed('"ridge"', '"ensemble"\nof = { kind = "ridge" }'), "draws no random number", 2),
    "ensemble_of_unknown": (changed('"ridge"', '"ensemble"\nof = { kind = "lstn" }'), "did you mean 'lstm'?", 2),
    "kernel_zero": (changed('"ridge"', '"conv_lstm"\nkernel = 0'), "conv_lstm: kernel must be a whole number", 2),
}
