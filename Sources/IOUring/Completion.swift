/// One finished operation, or one result of an operation that goes on (see `hasMore`).
@frozen public struct Completion: Sendable {
    public let token: CompletionToken
    /// Bytes, a descriptor or a mask as the operation defines; negative: `-errno`.
    public let result: Int32
    /// `IORING_CQE_F_*` as the kernel set them.
    public let flags: UInt32

    @inlinable @inline(__always)
    public init(token: CompletionToken, result: Int32, flags: UInt32) {
        self.token = token
        self.result = result
        self.flags = flags
    }

    /// The operation is still armed and will complete again. False: it must be armed anew.
    @inlinable @inline(__always)
    public var hasMore: Bool { flags & 2 != 0 }

    /// The receive left bytes in the socket.
    @inlinable @inline(__always)
    public var hasUnreadBytes: Bool { flags & 4 != 0 }

    /// The provided buffer that holds the bytes; it must go back with `ProvidedBuffers.recycle`.
    ///
    /// Nil when the operation took no buffer: at end of stream, on an error, in other operations.
    @inlinable @inline(__always)
    public var bufferID: UInt16? {
        flags & 1 != 0 ? UInt16(truncatingIfNeeded: flags >> 16) : nil
    }

    /// The errno of a failed operation, nil when it succeeded.
    @inlinable @inline(__always)
    public var failure: Int32? { result < 0 ? 0 &- result : nil }
}
