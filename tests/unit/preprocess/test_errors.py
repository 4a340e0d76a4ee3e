import pickle

from cellserve_preprocess import ParameterError


def test_the_message_names_parameter_value_and_what_is_allowed():
    error = ParameterError("tile_overlap", 0.7, "0 to 0.5")
    assert str(error) == "tile_overlap is 0.7; allowed: 0 to 0.5"
    assert (error.parameter, error.value, error.allowed) == ("tile_overlap", 0.7, "0 to 0.5")


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ParameterError("niter", 0, "1 to 10000")))
    assert (error.parameter, error.value, error.allowed) == ("niter", 0, "1 to 10000")
