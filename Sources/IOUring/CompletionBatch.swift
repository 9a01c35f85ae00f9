/// Fixed memory for the completions of one turn of the loop, filled by `Ring.reap(into:)`.
///
/// The batch is copied out of the kernel's queue so that handlers may prepare and submit while it
/// is being walked; the queue's own entries are free again as soon as `reap` returns.
///
/// Cost: 4 KiB, allocated once.
public struct CompletionBatch: ~Copyable {
    /// Completions one `reap` takes at most; the rest wait for the next.
    @inlinable public static var capacity: Int { 256 }

    /// Allocated for `capacity` elements; only the first `filled` are initialised, by `Ring.reap`.
    @usableFromInline let memory: UnsafeMutablePointer<Completion>
    @usableFromInline var filled = 0

    /// Completions of the last `reap`.
    @inlinable @inline(__always)
    public var count: Int { filled }

    public init() { memory = .allocate(capacity: CompletionBatch.capacity) }

    deinit { memory.deallocate() }

    @inlinable @inline(__always)
    public subscript(index: Int) -> Completion {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "no such completion")
        return memory[index]
    }
}
