/// One thing the store asks of the disk that holds its tier file.
///
/// Whoever carries it out answers with `StoreWorker.complete(token, result)`: bytes done, or
/// minus errno. `memory` stays the store's and untouched until then. Offsets and lengths are
/// multiples of 4096, memory is aligned to 4096.
public struct DiskRequest {
    public enum Kind: Sendable { case read, write, allocate }
    public let kind: Kind
    /// Offset in the tier file, in bytes.
    public let offset: Int
    public let length: Int
    public let memory: UnsafeMutableRawPointer?
    /// The memory lies in the worker's `bufferMemory`, which the mover may have registered.
    public let isRegistered: Bool
    public let token: UInt32
}
