"""LiteRT (TensorFlow Lite): `.tflite` models that make vectors of texts, or say what images show."""
