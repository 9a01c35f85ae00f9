import Primitives

/// Identity of a stream's entry: Unix milliseconds, and a number within the millisecond.
public struct StreamID: Comparable, Hashable, Sendable {
    public var milliseconds: UInt64
    public var sequence: UInt64

    public init(_ milliseconds: UInt64, _ sequence: UInt64) {
        self.milliseconds = milliseconds
        self.sequence = sequence
    }

    public static let zero = StreamID(0, 0)
    public static let max = StreamID(.max, .max)

    @inline(__always)
    public static func < (a: StreamID, b: StreamID) -> Bool {
        a.milliseconds != b.milliseconds ? a.milliseconds < b.milliseconds : a.sequence < b.sequence
    }

    /// The next ID, or nil behind the last.
    public var next: StreamID? {
        if sequence < .max { return StreamID(milliseconds, sequence + 1) }
        return milliseconds < .max ? StreamID(milliseconds + 1, 0) : nil
    }

    /// The ID before, or nil before the first.
    public var previous: StreamID? {
        if sequence > 0 { return StreamID(milliseconds, sequence - 1) }
        return milliseconds > 0 ? StreamID(milliseconds - 1, .max) : nil
    }

    /// Sixteen bytes that sort as the ID does.
    @inline(__always)
    func withKey<R>(_ body: (ByteView) -> R) -> R {
        withUnsafeBytes(of: (milliseconds.bigEndian, sequence.bigEndian)) { body(ByteView($0)) }
    }

    init(key: ByteView) {
        milliseconds = UInt64(bigEndian: key.base.loadUnaligned(as: UInt64.self))
        sequence = UInt64(bigEndian: key.base.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    public var text: String { "\(milliseconds)-\(sequence)" }
}
