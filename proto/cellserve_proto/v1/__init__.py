"""All messages and enumerations of the contract, version 1; the service's stub is in `segmentation_pb2_grpc`."""

from .errors_pb2 import *
from .image_pb2 import *
from .large_pb2 import *
from .limits_pb2 import *
from .models_pb2 import *
from .networks_pb2 import *
from .params_pb2 import *
from .request_pb2 import *
from .results_pb2 import *
from .segmentation_pb2 import *
