import CLiburing
import Glibc

// One method per operation. Each fills one submission entry and returns; nothing reaches the kernel
// until a submit. When the queue is full the method submits by itself (`Ring.forcedSubmits`), so a
// caller never has to check or retry. Every operation completes with its token, once unless it says
// otherwise. Memory passed by address must stay valid until the last completion.
//
// The numbers are the kernel's: `IOSQE_*` and `MSG_*` are not imported with a usable type.

extension Ring {
    @usableFromInline typealias Entry = UnsafeMutablePointer<io_uring_sqe>

    @inlinable @inline(__always)
    static var fixedFile: UInt8 { 1 << 0 }
    @inlinable @inline(__always)
    static var selectBuffer: UInt8 { 1 << 5 }
    /// RWF_DSYNC.
    @inlinable @inline(__always)
    static var durable: Int32 { 2 }
    @inlinable @inline(__always)
    static var silentOnSuccess: UInt8 { 1 << 6 }
    @inlinable @inline(__always)
    static var dontWait: Int32 { 0x40 }
    @inlinable @inline(__always)
    static var waitAll: Int32 { 0x100 }
    @inlinable @inline(__always)
    static var noSignal: Int32 { 0x4000 }

    @inlinable @inline(__always)
    mutating func nextEntry() -> Entry {
        if let entry = io_uring_get_sqe(raw) { return entry }
        return entryAfterSubmit()
    }

    /// The last step of every method: prep functions leave the token and overwrite the flags.
    @inlinable @inline(__always)
    func finish(_ entry: Entry, _ token: CompletionToken, flags: UInt8 = 0) {
        entry.pointee.flags = flags
        entry.pointee.user_data = token.bits
    }
}

// MARK: - Disk

extension Ring {
    /// Reads into registered memory. Result: bytes, fewer at end of file.
    ///
    /// Units:  bytes; with O_DIRECT, offset and length are multiples of the block, else `EINVAL`.
    /// Errors: `EFAULT` – the range is not inside registered buffer `buffer`.
    @inlinable
    public mutating func readFixed(
        _ file: FileSlot, into address: UnsafeMutableRawPointer, buffer: BufferIndex,
        length: UInt32, at offset: UInt64, _ token: CompletionToken
    ) {
        let entry = nextEntry()
        io_uring_prep_read_fixed(
            entry, Int32(bitPattern: file.index), address, length, offset, Int32(buffer.index))
        finish(entry, token, flags: Ring.fixedFile)
    }

    /// Writes from registered memory. Result: bytes, possibly fewer.
    @inlinable
    public mutating func writeFixed(
        _ file: FileSlot, from address: UnsafeRawPointer, buffer: BufferIndex,
        length: UInt32, at offset: UInt64, _ token: CompletionToken
    ) {
        let entry = nextEntry()
        io_uring_prep_write_fixed(
            entry, Int32(bitPattern: file.index), address, length, offset, Int32(buffer.index))
        finish(entry, token, flags: Ring.fixedFile)
    }

    /// Reads into any memory. Result: bytes, fewer at end of file.
    @inlinable
    public mutating func read(
        _ file: FileSlot, into address: UnsafeMutableRawPointer, length: UInt32,
        at offset: UInt64, _ token: CompletionToken
    ) {
        let entry = nextEntry()
        io_uring_prep_read(entry, Int32(bitPattern: file.index), address, length, offset)
        finish(entry, token, flags: Ring.fixedFile)
    }

    /// Writes from any memory. Result: bytes, possibly fewer. `durably`: they are durable then (RWF_DSYNC).
    @inlinable
    public mutating func write(
        _ file: FileSlot, from address: UnsafeRawPointer, length: UInt32,
        at offset: UInt64, durably: Bool = false, _ token: CompletionToken
    ) {
        let entry = nextEntry()
        io_uring_prep_write(entry, Int32(bitPattern: file.index), address, length, offset)
        if durably { entry.pointee.rw_flags = Ring.durable }
        finish(entry, token, flags: Ring.fixedFile)
    }

    /// Makes completed writes durable: data, and the metadata needed to read it (fdatasync).
    ///
    /// It does not wait for writes in flight: submit it after they have completed.
    @inlinable
    public mutating func dataSync(_ file: FileSlot, _ token: CompletionToken) {
        let entry = nextEntry()
        io_uring_prep_fsync(entry, Int32(bitPattern: file.index), UInt32(IORING_FSYNC_DATASYNC))
        finish(entry, token, flags: Ring.fixedFile)
    }

    /// Makes completed writes and all metadata durable (fsync).
    @inlinable
    public mutating func sync(_ file: FileSlot, _ token: CompletionToken) {
        let entry = nextEntry()
        io_uring_prep_fsync(entry, Int32(bitPattern: file.index), 0)
        finish(entry, token, flags: Ring.fixedFile)
    }

    /// Reserves blocks from `offset` for `length` bytes and extends the file to cover them.
    ///
    /// Errors: `ENOSPC` – nothing changed. `EOPNOTSUPP` – the file system cannot.
    @inlinable
    public mutating func allocate(
        _ file: FileSlot, at offset: UInt64, length: UInt64, _ token: CompletionToken
    ) {
        let entry = nextEntry()
        io_uring_prep_fallocate(
            entry, Int32(bitPattern: file.index), 0, Int(offset), Int(length))
        finish(entry, token, flags: Ring.fixedFile)
    }
}

// MARK: - Sockets

extension Ring {
    /// Accepts connections until cancelled: one completion per connection, result its descriptor.
    ///
    /// Without `hasMore` it has ended and must be armed again, e.g. after `EMFILE`. The sockets are
    /// close-on-exec and blocking, which io_uring needs to wait for them by itself.
    @inlinable
    public mutating func accept(_ listener: Int32, _ token: CompletionToken) {
        let entry = nextEntry()
        // 0o2000000 is SOCK_CLOEXEC.
        io_uring_prep_multishot_accept(entry, listener, nil, nil, 0o2000000)
        finish(entry, token)
    }

    /// Receives until cancelled, each time into a buffer the kernel takes from the group.
    ///
    /// Result: bytes, 0 at end of stream; the buffer is `Completion.bufferID`.
    /// Errors: `ENOBUFS` – the group is empty: recycle some, then arm again; no bytes are lost.
    @inlinable
    public mutating func receive(
        _ socket: Int32, group: BufferGroup, _ token: CompletionToken
    ) {
        let entry = nextEntry()
        io_uring_prep_recv_multishot(entry, socket, nil, 0, 0)
        entry.pointee.buf_group = group.id
        finish(entry, token, flags: Ring.selectBuffer)
    }

    /// Sends bytes, waiting for room as long as it takes. Result: bytes, possibly fewer.
    ///
    /// Two sends on one socket must not be in flight together: they may interleave.
    @inlinable
    public mutating func send(
        _ socket: Int32, _ address: UnsafeRawPointer, length: Int, _ token: CompletionToken
    ) {
        let entry = nextEntry()
        io_uring_prep_send(entry, socket, address, min(length, Ring.sendLimit), Ring.noSignal)
        finish(entry, token)
    }

    /// Sends bytes that fit the socket now; completes only if not all did.
    ///
    /// The send runs inside the submit, so when the submit has returned the memory is free and the
    /// loop is not woken. Result, when there is one: bytes done, `EAGAIN` for none, or an error;
    /// the caller continues with `send`.
    /// Source: MSG_WAITALL in io_uring_prep_send(3).
    @inlinable
    public mutating func sendSilently(
        _ socket: Int32, _ address: UnsafeRawPointer, length: Int, _ token: CompletionToken
    ) {
        precondition(length <= Ring.sendLimit, "a silent send is never cut")
        let entry = nextEntry()
        io_uring_prep_send(
            entry, socket, address, length, Ring.noSignal | Ring.dontWait | Ring.waitAll)
        finish(entry, token, flags: Ring.silentOnSuccess)
    }

    /// Bytes one send takes at most: 1 GiB, so that a result always fits 31 bits.
    @inlinable public static var sendLimit: Int { 1 << 30 }

    /// Ends one or both directions of a socket: `SHUT_RD`, `SHUT_WR` or `SHUT_RDWR` (0, 1, 2).
    @inlinable
    public mutating func shutDown(_ socket: Int32, _ how: Int32, _ token: CompletionToken) {
        let entry = nextEntry()
        io_uring_prep_shutdown(entry, socket, how)
        finish(entry, token)
    }

    /// Closes a descriptor; operations in flight on it go on, so cancel them first.
    @inlinable
    public mutating func close(_ descriptor: Int32, _ token: CompletionToken) {
        let entry = nextEntry()
        io_uring_prep_close(entry, descriptor)
        finish(entry, token)
    }
}

// MARK: - Cancellation, time, wake-up

extension Ring {
    /// Asks to end every operation that carries `target`; they complete with `ECANCELED` or their
    /// result. Result: how many were found, 0 for none.
    ///
    /// The target's own last completion, not this one, says that its memory is free.
    @inlinable
    public mutating func cancel(_ target: CompletionToken, _ token: CompletionToken) {
        let entry = nextEntry()
        io_uring_prep_cancel64(entry, target.bits, Int32(IORING_ASYNC_CANCEL_ALL))
        finish(entry, token)
    }

    /// Asks to end every operation on a descriptor. Result: how many were found, 0 for none.
    @inlinable
    public mutating func cancelAll(on descriptor: Int32, _ token: CompletionToken) {
        let entry = nextEntry()
        io_uring_prep_cancel_fd(entry, descriptor, UInt32(IORING_ASYNC_CANCEL_ALL))
        finish(entry, token)
    }

    /// Completes with `ETIME` after a time. Units: nanoseconds from now, monotonic clock.
    @inlinable
    public mutating func timeout(nanoseconds: UInt64, _ token: CompletionToken) {
        let entry = nextEntry()
        // The time must lie still until the submit copies it: the entry's own place in `timeouts`.
        let span = timeouts + (entry - raw.pointee.sq.sqes)
        span.pointee = __kernel_timespec(nanoseconds: nanoseconds)
        io_uring_prep_timeout(entry, span, 0, 0)
        finish(entry, token)
    }

    /// Completes once the descriptor is readable. Result: the `POLL*` bits.
    @inlinable
    public mutating func poll(_ descriptor: Int32, _ token: CompletionToken) {
        let entry = nextEntry()
        io_uring_prep_poll_add(entry, descriptor, UInt32(POLLIN))
        finish(entry, token)
    }

    /// Completes each time the descriptor becomes readable, until cancelled or without `hasMore`.
    @inlinable
    public mutating func pollRepeatedly(_ descriptor: Int32, _ token: CompletionToken) {
        let entry = nextEntry()
        io_uring_prep_poll_multishot(entry, descriptor, UInt32(POLLIN))
        finish(entry, token)
    }

    /// Wakes another ring with one completion: its token is `payload`, its result `value`.
    ///
    /// This ring gets a completion only if it failed, with `token`. Submit soon: the other ring
    /// sleeps until then.
    /// Units: `value` is not negative.
    @inlinable
    public mutating func message(
        to ringDescriptor: Int32, _ payload: CompletionToken, value: Int32 = 0,
        _ token: CompletionToken
    ) {
        precondition(value >= 0, "a negative value would read as an error")
        let entry = nextEntry()
        io_uring_prep_msg_ring(entry, ringDescriptor, UInt32(value), payload.bits, 0)
        finish(entry, token, flags: Ring.silentOnSuccess)
    }

    /// Does nothing and completes with 0; for tests and measurements.
    @inlinable
    public mutating func noOperation(_ token: CompletionToken) {
        let entry = nextEntry()
        io_uring_prep_nop(entry)
        finish(entry, token)
    }
}
