import CSystem
import CLZ4
import Primitives

/// One key and its value as they stand in the log.
///
/// Shape:  | crc32c 4 | record length 4 | sequence 8 | key hash 8 | expiry 8 | value length 4 |
///         | key length 4 | segment version 4 | database 2 | type 1 | flags 1 | key … | payload … |
///         The CRC covers everything behind it. Records start at multiples of 8; one that fits into
///         a 4 KiB block does not straddle two, and no header does. A length of 0 ends the block.
/// Units:  lengths in bytes; record length without padding; expiry in Unix milliseconds, 0 = never;
///         little endian throughout.
/// Flags:  bit 0: the payload is one LZ4 block of `value length` bytes.
/// Why:    self-describing, so that the log can be rebuilt into an index without another file;
///         lengths precede key and payload, so that a scan can skip without parsing.
/// Type:   low four bits: `ValueType`; above: the flags of `Entry.recorded`.
/// The payload of a string is its bytes; that of a small collection its intset or
/// listpack as in RDB files, less the frame that repeats the length; that of a large one its RDB encoding.
public struct Record {
    public static let headerSize = 48
    public static let compressed: UInt8 = 1
    /// A shorter value is written as it is.
    static let compressionStart = 64
    /// A longer value is written as it is: compressing it would hold up the loop.
    static let compressionLimit = 128 << 10

    public let at: UnsafeRawPointer

    public init(_ at: UnsafeRawPointer) { self.at = at }

    public var checksum: UInt32 { at.load(as: UInt32.self) }
    public var byteCount: Int { Int(at.load(fromByteOffset: 4, as: UInt32.self)) }
    public var sequence: UInt64 { at.load(fromByteOffset: 8, as: UInt64.self) }
    public var hash: UInt64 { at.load(fromByteOffset: 16, as: UInt64.self) }
    public var expiry: Int64 { at.load(fromByteOffset: 24, as: Int64.self) }
    public var valueCount: Int { Int(at.load(fromByteOffset: 32, as: UInt32.self)) }
    public var keyCount: Int { Int(at.load(fromByteOffset: 36, as: UInt32.self)) }
    public var segmentVersion: UInt32 { at.load(fromByteOffset: 40, as: UInt32.self) }
    public var database: Int { Int(at.load(fromByteOffset: 44, as: UInt16.self)) }
    public var type: UInt8 { at.load(fromByteOffset: 46, as: UInt8.self) }
    public var flags: UInt8 { at.load(fromByteOffset: 47, as: UInt8.self) }
    public var key: ByteView { ByteView(at + Record.headerSize, keyCount) }
    public var payload: ByteView {
        ByteView(at + Record.headerSize + keyCount, byteCount - Record.headerSize - keyCount)
    }

    /// Whether lengths fit into `available` bytes and each other, and the checksum holds.
    public func isSound(available: Int) -> Bool {
        hasSoundLengths(available: available)
            && csystem_crc32c(0, at + 4, byteCount - 4) == checksum
    }

    /// Whether it is the record that was written to `address` for a key of this hash.
    func stands(at address: Address, hash: UInt64) -> Bool {
        self.hash == hash && segmentVersion & 0x3ff == address.version
    }

    /// Whether lengths fit into `available` bytes and each other.
    func hasSoundLengths(available: Int) -> Bool {
        guard available >= Record.headerSize else { return false }
        let length = byteCount
        guard length >= Record.headerSize, length <= available,
            Record.headerSize + keyCount <= length
        else { return false }
        let payloadCount = length - Record.headerSize - keyCount
        return flags & Record.compressed == 0
            ? valueCount == payloadCount : valueCount <= Record.compressionLimit
    }

    /// Writes the value's bytes to `destination`, which has room for `valueCount`.
    /// False when the payload does not decode to exactly that many.
    public func decode(into destination: UnsafeMutableRawPointer) -> Bool {
        let payload = self.payload
        if flags & Record.compressed == 0 {
            guard payload.count == valueCount else { return false }
            destination.copyMemory(from: payload.base, byteCount: payload.count)
            return true
        }
        let count = LZ4_decompress_safe(
            payload.base.assumingMemoryBound(to: CChar.self),
            destination.assumingMemoryBound(to: CChar.self), Int32(payload.count), Int32(valueCount))
        return Int(count) == valueCount
    }

    /// What a record is made from. Lent for one call of `encode`.
    struct Content {
        var hash: UInt64
        var sequence: UInt64
        var database: Int
        /// `ValueType`, and the entry's flags that say how the bytes are to be read.
        var type: UInt8
        var expiry: Int64?
        var key: ByteView
        var value: ByteView
    }

    /// Bytes a record may need: what must be free at `encode`'s target.
    static func bound(keyCount: Int, valueCount: Int) -> Int { headerSize + keyCount + valueCount }

    /// Writes a record; returns its length.
    static func encode(
        _ content: Content, segmentVersion: UInt32, at target: UnsafeMutableRawPointer
    ) -> Int {
        let length = compose(content, at: target)
        target.storeBytes(of: segmentVersion, toByteOffset: 40, as: UInt32.self)
        seal(target, length)
        return length
    }

    /// Writes a record but for its segment version and checksum; returns its length. Compresses
    /// when that saves at least an eighth, unless told not to try.
    static func compose(
        _ content: Content, at target: UnsafeMutableRawPointer, compresses: Bool = true
    ) -> Int {
        let payload = target + headerSize + content.key.count
        (target + headerSize).copyMemory(from: content.key.base, byteCount: content.key.count)
        var count = content.value.count, flags: UInt8 = 0
        if compresses, count >= compressionStart, count <= compressionLimit {
            let packed = LZ4_compress_default(
                content.value.base.assumingMemoryBound(to: CChar.self),
                payload.assumingMemoryBound(to: CChar.self), Int32(count), Int32(count - count / 8))
            if packed > 0 {
                count = Int(packed)
                flags = compressed
            }
        }
        if flags == 0 { payload.copyMemory(from: content.value.base, byteCount: count) }
        let length = headerSize + content.key.count + count
        writeHeader(content, valueCount: content.value.count, length: length, flags: flags, at: target)
        return length
    }

    /// Writes all of a header but the segment's version and the checksum.
    static func writeHeader(
        _ content: Content, valueCount: Int, length: Int, flags: UInt8, at target: UnsafeMutableRawPointer
    ) {
        target.storeBytes(of: UInt32(length), toByteOffset: 4, as: UInt32.self)
        target.storeBytes(of: content.sequence, toByteOffset: 8, as: UInt64.self)
        target.storeBytes(of: content.hash, toByteOffset: 16, as: UInt64.self)
        target.storeBytes(of: content.expiry ?? 0, toByteOffset: 24, as: Int64.self)
        target.storeBytes(of: UInt32(valueCount), toByteOffset: 32, as: UInt32.self)
        target.storeBytes(of: UInt32(content.key.count), toByteOffset: 36, as: UInt32.self)
        target.storeBytes(of: UInt16(content.database), toByteOffset: 44, as: UInt16.self)
        target.storeBytes(of: content.type, toByteOffset: 46, as: UInt8.self)
        target.storeBytes(of: flags, toByteOffset: 47, as: UInt8.self)
    }

    /// Copies a record to its place in a segment, and completes it.
    func copy(to target: UnsafeMutableRawPointer, segmentVersion: UInt32) {
        target.copyMemory(from: at, byteCount: byteCount)
        target.storeBytes(of: segmentVersion, toByteOffset: 40, as: UInt32.self)
        Record.seal(target, byteCount)
    }

    static func seal(_ target: UnsafeMutableRawPointer, _ length: Int) {
        target.storeBytes(of: csystem_crc32c(0, target + 4, length - 4), as: UInt32.self)
    }
}
