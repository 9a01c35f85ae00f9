import CLiburing
import Glibc

/// How large a ring is. The flags are not a choice: every ring is made for one thread that submits
/// and reaps (`SINGLE_ISSUER`, `DEFER_TASKRUN`).
public struct RingOptions: Sendable {
    /// Completions the kernel can hold per submission entry, 2 to 16. Multishot operations complete
    /// many times per submission, hence the default of 8.
    public var completionsPerEntry: UInt32

    public init(completionsPerEntry: UInt32 = 8) {
        precondition((2...16).contains(completionsPerEntry), "2 to 16 completions per entry")
        self.completionsPerEntry = completionsPerEntry
    }
}

/// The kernel's side of a ring, closed when the ring and every buffer registered with it are gone.
///
/// Why: buffers must be unregistered before their memory is unmapped, and that needs a live ring;
/// sharing ownership makes any order of destruction right.
@usableFromInline final class RingOwner {
    /// Initialised by `Ring.init`; valid until `deinit`. Its address never changes.
    @usableFromInline let raw: UnsafeMutablePointer<io_uring>
    /// One per submission entry; the kernel copies it when the entry is submitted.
    @usableFromInline let timeouts: UnsafeMutablePointer<__kernel_timespec>

    init(adopting raw: UnsafeMutablePointer<io_uring>) {
        self.raw = raw
        let entries = Int(raw.pointee.sq.ring_entries)
        timeouts = .allocate(capacity: entries)
        timeouts.initialize(repeating: __kernel_timespec(), count: entries)
    }

    deinit {
        io_uring_queue_exit(raw)
        raw.deallocate()
        timeouts.deallocate()
    }
}

/// One thread's io_uring: operations are prepared (Operations.swift), submitted, and reaped.
///
/// Made, used and destroyed on one thread: a submit from another is refused, unless that thread has
/// a ring of its own, which would then be entered instead. Memory named in an operation belongs to
/// the kernel until the operation's last completion: destroying the ring cancels what is pending
/// but does not wait, so drain it first.
///
/// Cost: prepare and reap make no system call and allocate nothing.
/// Source: io_uring(7); monoio and TigerBeetle for the shape of the loop.
public struct Ring: ~Copyable {
    @usableFromInline let owner: RingOwner
    /// `owner.raw`, here to spare the hot path a load and any reference counting.
    @usableFromInline let raw: UnsafeMutablePointer<io_uring>
    @usableFromInline let timeouts: UnsafeMutablePointer<__kernel_timespec>

    /// Times a prepare method found the queue full and submitted by itself; a high count says that
    /// the ring is too small.
    public internal(set) var forcedSubmits: UInt64 = 0

    /// Makes a ring for at least `entries` operations between two submits.
    ///
    /// Units:  `entries` is rounded up to a power of two; 1 to 32768.
    /// Errors: `.setUp` – the text names cause and remedy; there is no ring to fall back to.
    public init(entries: UInt32, options: RingOptions = RingOptions()) throws(RingError) {
        precondition((1...32768).contains(entries), "1 to 32768 entries")
        var parameters = io_uring_params()
        parameters.flags = UInt32(IORING_SETUP_SINGLE_ISSUER) | UInt32(IORING_SETUP_DEFER_TASKRUN)
            | UInt32(IORING_SETUP_SUBMIT_ALL) | UInt32(IORING_SETUP_CQSIZE)
            | UInt32(IORING_SETUP_CLAMP)
        parameters.cq_entries = entries * options.completionsPerEntry
        let raw = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        raw.initialize(to: io_uring())
        let status = io_uring_queue_init_params(entries, raw, &parameters)
        guard status == 0 else {
            raw.deallocate()
            throw RingError(.setUp, -status)
        }
        // Saves a descriptor look-up per enter. A thread may register 16 rings; without it the
        // ring works all the same, so a refusal is not an error.
        _ = io_uring_register_ring_fd(raw)
        owner = RingOwner(adopting: raw)
        self.raw = raw
        timeouts = owner.timeouts
    }

    /// Names this ring as a target of `message(to:)`; never to be closed by the caller.
    public var descriptor: Int32 { raw.pointee.ring_fd }

    /// Operations the submission queue can hold.
    public var entries: Int { Int(raw.pointee.sq.ring_entries) }

    /// Operations that can be prepared before a submit is forced.
    @inlinable public var freeEntries: Int { Int(io_uring_sq_space_left(raw)) }

    /// Operations prepared and not yet submitted.
    @inlinable public var preparedEntries: Int { Int(io_uring_sq_ready(raw)) }

    /// Completions that found the queue full and wait in kernel memory, so far only as yes or no.
    @inlinable public var hasOverflowed: Bool { io_uring_cq_has_overflow(raw) }
}

// MARK: - Registered files

/// A place in the ring's table of registered files: cheaper per operation than a descriptor.
@frozen public struct FileSlot: Equatable, Hashable, Sendable {
    public let index: UInt32

    @inlinable public init(_ index: UInt32) { self.index = index }
}

extension Ring {
    /// Makes an empty table of `slots` registered files; once per ring.
    public mutating func registerFiles(slots: UInt32) throws(RingError) {
        let status = io_uring_register_files_sparse(raw, slots)
        guard status == 0 else { throw RingError(.registerFiles, -status) }
    }

    /// Puts an open file into a slot, or empties the slot with `nil`.
    ///
    /// The table holds its own reference: the caller may close its descriptor. Operations in flight
    /// keep the file they started with.
    public mutating func setFile(_ slot: FileSlot, to descriptor: Int32?) throws(RingError) {
        var file = descriptor ?? -1
        let status = io_uring_register_files_update(raw, slot.index, &file, 1)
        guard status == 1 else { throw RingError(.registerFiles, status < 0 ? -status : EBADF) }
    }
}

// MARK: - Registered memory

/// The kernel's number for a block of registered memory, as `readFixed` and `writeFixed` need it.
@frozen public struct BufferIndex: Equatable, Hashable, Sendable {
    public let index: UInt16

    @inlinable public init(_ index: UInt16) { self.index = index }
}

extension Ring {
    /// Registers one block of memory as fixed buffer 0: disk operations on it save mapping it each
    /// time. The memory must outlive the ring.
    ///
    /// Errors: `.registerBuffers` – above the limit of locked memory, or the ring has some.
    public mutating func registerMemory(_ memory: UnsafeRawBufferPointer) throws(RingError) {
        var block = iovec(
            iov_base: UnsafeMutableRawPointer(mutating: memory.baseAddress), iov_len: memory.count)
        let status = io_uring_register_buffers(raw, &block, 1)
        guard status == 0 else { throw RingError(.registerBuffers, -status) }
    }
}

// MARK: - Submit, wait, reap

extension Ring {
    /// Hands every prepared operation to the kernel without waiting.
    ///
    /// Completions of network and disk operations are *not* posted by this; see `flush`.
    /// Errors: `.submit` – the ring is unusable (wrong thread, closed). A kernel short of memory is
    ///         no error: what was not taken stays prepared.
    @discardableResult
    public mutating func submit() throws(RingError) -> Int {
        try taken(io_uring_submit(raw))
    }

    /// Submits, and has the kernel post whatever is complete, without waiting.
    ///
    /// Why: with `DEFER_TASKRUN` the kernel finishes operations only when asked to.
    @discardableResult
    public mutating func flush() throws(RingError) -> Int {
        try taken(io_uring_submit_and_get_events(raw))
    }

    /// Submits, then sleeps until `minimum` completions are ready or the time is over.
    ///
    /// It may return with fewer, after a signal, a timeout or a moment without memory: reap, look
    /// at the clock, and call again.
    /// Units:  nanoseconds from now; nil waits without end, 0 does not wait.
    /// Errors: `.submit` – the ring is unusable.
    @discardableResult
    public mutating func submitAndWait(
        minimum: Int, timeoutNanoseconds: UInt64? = nil
    ) throws(RingError) -> Int {
        if minimum <= 0 || timeoutNanoseconds == 0 { return try flush() }
        let count = UInt32(min(minimum, CompletionBatch.capacity))
        guard let timeoutNanoseconds else {
            return try taken(io_uring_submit_and_wait(raw, count))
        }
        var span = __kernel_timespec(nanoseconds: timeoutNanoseconds)
        var first: UnsafeMutablePointer<io_uring_cqe>?
        return try taken(io_uring_submit_and_wait_timeout(raw, &first, count, &span, nil))
    }

    /// Sorts a submit's status: a count, "nothing new", or an error.
    func taken(_ status: Int32) throws(RingError) -> Int {
        switch -status {
        case ...0: return Int(status)
        case EINTR, ETIME, EAGAIN, EBUSY: return 0
        default: throw RingError(.submit, -status)
        }
    }

    /// Moves what is complete into the batch, oldest first, and returns how many.
    ///
    /// When it returns `CompletionBatch.capacity` there may be more: reap again before sleeping.
    /// Cost: no system call, unless the completion queue has overflowed.
    @inlinable
    public mutating func reap(into batch: inout CompletionBatch) -> Int {
        if io_uring_cq_has_overflow(raw) { fetchOverflow() }
        let count = min(Int(io_uring_cq_ready(raw)), CompletionBatch.capacity)
        // The kernel published `count` entries from head on (acquired by io_uring_cq_ready); they
        // are ours until io_uring_cq_advance gives them back.
        let entries = raw.pointee.cq.cqes!
        let mask = raw.pointee.cq.ring_mask
        var position = raw.pointee.cq.khead.pointee
        for index in 0..<count {
            let entry = entries + Int(position & mask)
            (batch.memory + index).initialize(to: Completion(
                token: CompletionToken(bits: entry.pointee.user_data),
                result: entry.pointee.res, flags: entry.pointee.flags))
            position &+= 1
        }
        io_uring_cq_advance(raw, UInt32(count))
        batch.filled = count
        return count
    }

    @usableFromInline @inline(never)
    func fetchOverflow() { _ = io_uring_get_events(raw) }

    /// Submits because the queue is full, until there is an entry.
    ///
    /// The kernel takes everything at once, save when short of memory; it is then given time.
    @usableFromInline @inline(never)
    mutating func entryAfterSubmit() -> UnsafeMutablePointer<io_uring_sqe> {
        forcedSubmits &+= 1
        var status: Int32 = 0
        for _ in 0..<10_000 {
            status = io_uring_submit(raw)
            if let entry = io_uring_get_sqe(raw) { return entry }
            guard status == -EAGAIN || status == -EBUSY || status == -EINTR else { break }
            sched_yield()
        }
        fatalError(RingError(.submit, -status).description)
    }
}

extension __kernel_timespec {
    @usableFromInline init(nanoseconds: UInt64) {
        self.init(
            tv_sec: Int64(nanoseconds / 1_000_000_000), tv_nsec: Int64(nanoseconds % 1_000_000_000))
    }
}
