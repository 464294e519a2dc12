"""Reading and rebuilding Keras models: how one is walked, copied, called and given other lengths."""
