/// A file the store has something to ask of: by number, as the mover opened it.
public struct DiskFile: Hashable, Sendable {
    public let number: UInt8
    public init(number: UInt8) { self.number = number }
    /// The tier file, which every worker may ask of. All others are the first worker's alone.
    public static let tier = DiskFile(number: 0)
}

/// One thing the store asks of the disk.
///
/// Whoever carries it out answers with `StoreWorker.complete(token, result)`: bytes done, or
/// minus errno. `memory` stays the store's and untouched until then. In the tier file offsets and lengths are
/// multiples of 4096 and memory is aligned to 4096; in other files they are what they are.
public struct DiskRequest {
    public enum Kind: Sendable {
        case read, write, allocate
        /// A write that is durable when it has ended.
        case durableWrite
        /// Makes completed writes durable.
        case sync
    }
    public let kind: Kind
    public let file: DiskFile
    /// Offset in the file, in bytes.
    public let offset: Int
    public let length: Int
    public let memory: UnsafeMutableRawPointer?
    /// The memory lies in the worker's `bufferMemory`, which the mover may have registered.
    public let isRegistered: Bool
    public let token: UInt32
}
