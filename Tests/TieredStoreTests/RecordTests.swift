import Primitives
import Testing

@testable import TieredStore

/// Proves that what is encoded comes back, and that nothing damaged passes for a record.
struct RecordTests {
    /// Memory that begins at a multiple of 8 and is exactly as large as asked for.
    private final class Room {
        let at: UnsafeMutableRawPointer
        init(_ count: Int) {
            at = .allocate(byteCount: max(1, count), alignment: 8)
            at.initializeMemory(as: UInt8.self, repeating: 0xa5, count: count)
        }
        deinit { at.deallocate() }
        func bytes(_ count: Int) -> [UInt8] { ByteView(at, count).array }
    }

    private static let anyByte = (0...255).map { UInt8($0) }

    private func random(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
        var random = Random(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    /// Lends content for `key` and `value`; the other fields have bytes that all differ.
    private func with<R>(
        _ key: [UInt8], _ value: [UInt8], expiry: Int64? = 0x3132_3334_3536_3738,
        _ body: (Record.Content) -> R
    ) -> R {
        key.withView { key in
            value.withView { value in
                body(Record.Content(
                    hash: 0x2122_2324_2526_2728, sequence: 0x1112_1314_1516_1718, database: 0x4142,
                    type: UInt8(ValueType.string.rawValue), expiry: expiry, key: key, value: value))
            }
        }
    }

    private func encoded(
        _ key: [UInt8], _ value: [UInt8], expiry: Int64? = 0x3132_3334_3536_3738, version: UInt32 = 7
    ) -> (room: Room, count: Int) {
        let room = Room(Record.bound(keyCount: key.count, valueCount: value.count))
        let count = with(key, value, expiry: expiry) {
            Record.encode($0, segmentVersion: version, at: room.at)
        }
        return (room, count)
    }

    /// CRC-32C bit by bit (RFC 3720, appendix B.4: polynomial 0x1EDC6F41, reflected).
    private func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        var crc = ~UInt32(0)
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0x82f6_3b78 : crc >> 1 }
        }
        return ~crc
    }

    @Test func theShapeIsTheOneOnTheDisk() {
        let (room, count) = encoded(Array("key".utf8), Array("value".utf8), version: 0x5152_5354)
        var wanted: [UInt8] = [56, 0, 0, 0]
        wanted += [0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]
        wanted += [0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21]
        wanted += [0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31]
        wanted += [5, 0, 0, 0, 3, 0, 0, 0, 0x54, 0x53, 0x52, 0x51, 0x42, 0x41, 1, 0]
        wanted += Array("keyvalue".utf8)
        #expect(Array(room.bytes(count)[4...]) == wanted)
        #expect(Record(room.at).checksum == checksum(wanted[...]))
    }

    @Test(arguments: [
        ([], []), ([], [0]), (Array("k".utf8), []), (anyByte, Array("value".utf8)),
        (Array("k".utf8), anyByte), (anyByte, [UInt8](repeating: 120, count: 63)),
        (anyByte, [UInt8](repeating: 120, count: 64)),
        (Array("k".utf8), Array(repeating: Array("abcd".utf8), count: 16384).flatMap { $0 }),
    ] as [([UInt8], [UInt8])], [nil, 1] as [Int64?])
    func aRecordComesBack(_ content: ([UInt8], [UInt8]), _ expiry: Int64?) {
        check(content.0, content.1, expiry: expiry)
    }

    @Test func longIncompressibleValuesComeBack() {
        for count in [64, 4096, 65535, 65536, Record.compressionLimit, Record.compressionLimit + 1] {
            let record = check(Array("k".utf8), random(count), expiry: nil)
            #expect(record.flags == 0)
        }
    }

    @discardableResult
    private func check(_ key: [UInt8], _ value: [UInt8], expiry: Int64?) -> (flags: UInt8, count: Int) {
        let (room, count) = encoded(key, value, expiry: expiry)
        let record = Record(room.at)
        #expect(record.byteCount == count)
        #expect(record.isSound(available: count) && record.isSound(available: count + 1))
        #expect(record.key.array == key)
        #expect((record.keyCount, record.valueCount) == (key.count, value.count))
        #expect(record.expiry == expiry ?? 0)
        #expect(record.segmentVersion == 7)
        #expect(record.payload.count == count - Record.headerSize - key.count)
        let target = Room(value.count)
        #expect(record.decode(into: target.at))
        #expect(target.bytes(value.count) == value)
        return (record.flags, count)
    }

    @Test func compressionIsKeptWhenItSavesAnEighth() {
        let short = check([1], [UInt8](repeating: 0, count: 63), expiry: nil)
        #expect(short.flags == 0)
        let packed = check([1], [UInt8](repeating: 0, count: 4096), expiry: nil)
        #expect(packed.flags == Record.compressed)
        #expect(packed.count < 100)
        // One part in sixteen compresses: not worth it. One in four does.
        let little = check([1], random(3840) + [UInt8](repeating: 0, count: 256), expiry: nil)
        #expect((little.flags, little.count) == (0, Record.headerSize + 1 + 4096))
        let some = check([1], random(3072) + [UInt8](repeating: 0, count: 1024), expiry: nil)
        #expect(some.flags == Record.compressed)
        let long = check([1], [UInt8](repeating: 0, count: Record.compressionLimit + 1), expiry: nil)
        #expect(long.flags == 0)
    }

    /// Method: composed aside and copied must be, to the byte, what is encoded in place.
    @Test(arguments: [0, 5, 1000]) func composingAndCopyingIsEncoding(_ count: Int) {
        let key = Array("key".utf8), value = [UInt8](repeating: 7, count: count)
        let bound = Record.bound(keyCount: key.count, valueCount: count)
        let aside = Room(bound), copied = Room(bound)
        let length = with(key, value) { Record.compose($0, at: aside.at) }
        Record(aside.at).copy(to: copied.at, segmentVersion: 7)
        let (room, encodedLength) = encoded(key, value)
        #expect(length == encodedLength)
        #expect(copied.bytes(length) == room.bytes(length))
        // On to another segment, and back.
        Record(copied.at).copy(to: aside.at, segmentVersion: 8)
        #expect(Record(aside.at).segmentVersion == 8)
        #expect(Record(aside.at).isSound(available: length))
        #expect(Record(aside.at).checksum != Record(copied.at).checksum)
        Record(aside.at).copy(to: copied.at, segmentVersion: 7)
        #expect(copied.bytes(length) == room.bytes(length))
    }

    @Test(arguments: [5, 200]) func everyFlippedBitShows(_ count: Int) {
        let (room, length) = encoded(Array("key".utf8), [UInt8](repeating: 65, count: count))
        #expect(Record(room.at).isSound(available: length))
        for bit in 0..<length * 8 {
            let byte = (room.at + bit / 8).assumingMemoryBound(to: UInt8.self)
            byte.pointee ^= 1 << (bit % 8)
            #expect(!Record(room.at).isSound(available: length), "bit \(bit)")
            byte.pointee ^= 1 << (bit % 8)
        }
        #expect(Record(room.at).isSound(available: length))
    }

    @Test func whatIsCutOffIsNotSound() {
        let (room, length) = encoded(Array("key".utf8), Array("value".utf8))
        for available in 0..<length {
            // Memory of that size, so that the address sanitizer sees a read beyond it.
            let cut = Room(available)
            cut.at.copyMemory(from: room.at, byteCount: available)
            #expect(!Record(cut.at).isSound(available: available), "\(available) bytes")
            // Nor when what lies behind happens to be the rest.
            #expect(!Record(room.at).isSound(available: available), "\(available) bytes")
        }
    }

    @Test func emptyBlocksAreNotSound() {
        let zero = Room(4096)
        zero.at.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
        #expect(!Record(zero.at).isSound(available: 4096))
    }

    /// Method: a payload that is not what the header says, as after a fault no checksum saw.
    @Test func aPayloadOfAnotherLengthDoesNotDecode() {
        for count in [5, 1000] {
            for wrong in [count - 1, count + 1] {
                let (room, _) = encoded(Array("key".utf8), [UInt8](repeating: 65, count: count))
                room.at.storeBytes(of: UInt32(wrong), toByteOffset: 32, as: UInt32.self)
                let target = Room(wrong)
                #expect(!Record(room.at).decode(into: target.at), "\(count) as \(wrong)")
            }
        }
    }

    /// Values that do not compress are soon written as they are; the first that does is found out again.
    @Test func compressionIsTriedWhereItPays() {
        var compression = Compression()
        let room = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
        defer { room.deallocate() }
        func isCompressed(_ value: [UInt8]) -> Bool {
            with(Array("key".utf8), value) { _ = compression.compose($0, at: room) }
            return Record(room).flags & Record.compressed != 0
        }
        let zeros = [UInt8](repeating: 0, count: 500)
        for seed in 0..<100 { #expect(!isCompressed(StoreBench.noise(500, seed: UInt64(seed)))) }
        let untried = (0..<64).prefix { _ in !isCompressed(zeros) }.count
        #expect((1..<32).contains(untried), "\(untried) left as they are")
        for _ in 0..<40 { #expect(isCompressed(zeros)) }
    }
}
