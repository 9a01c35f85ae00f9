// IOUring
