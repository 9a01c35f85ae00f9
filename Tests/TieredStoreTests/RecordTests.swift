import Primitives
import Testing

@testable import TieredStore

/// Method: encodes contents of all kinds and reads them back; then does to a record what a disk or
/// a stale address can do to it, and expects it to be refused.
@Suite struct RecordTests {
    @Test func everyFieldSurvivesTheRoundTrip() {
        let made = EncodedRecord(
            key: Array("user:1".utf8), value: Array("hello".utf8), expiry: 1_800_000_000_123, database: 15,
            type: .stream, segmentVersion: 0x8000_0001)
        #expect(made.isSound(available: made.byteCount))
        #expect(made.byteCount == Record.headerSize + 6 + 5)
        #expect(made.hash == 0x0123_4567_89ab_cdef)
        #expect(made.sequence == 42)
        #expect(made.expiry == 1_800_000_000_123)
        #expect(made.database == 15)
        #expect(made.type == ValueType.stream.rawValue)
        #expect(made.flags == 0)
        #expect(made.segmentVersion == 0x8000_0001)
        #expect(made.keyText == "user:1")
        #expect(made.valueCount == 5)
        #expect(made.payloadText == "hello")
        #expect(made.decoded == Array("hello".utf8))
    }

    @Test func aKeyWithoutExpiryHasExpiryZero() {
        #expect(EncodedRecord(value: [1, 2, 3]).expiry == 0)
    }

    @Test func volatileExpiryIsKeptWithACompressedPayload() {
        let made = EncodedRecord(value: [UInt8](repeating: 0, count: 5000), expiry: .max)
        #expect(made.flags == Record.compressed)
        #expect(made.expiry == .max)
    }

    @Test(arguments: [0, 1, 63, 64, 65, 4000, 128 << 10, (128 << 10) + 1, 1 << 20])
    func valuesSurviveWhetherTheyCompressOrNot(_ count: Int) {
        let noise = EncodedRecord.noise(count, seed: UInt64(count) + 1)
        let even = [UInt8](repeating: 0x61, count: count)
        let half = Array(noise.prefix(count / 2)) + even.prefix(count - count / 2)
        for value in [noise, even, half] {
            let made = EncodedRecord(value: value)
            #expect(made.valueCount == count)
            #expect(made.byteCount <= Record.bound(keyCount: 3, valueCount: count))
            #expect(made.decoded == value)
        }
    }

    @Test func emptyKeyAndEmptyValueAreARecord() {
        let made = EncodedRecord(key: [], value: [])
        #expect(made.byteCount == Record.headerSize)
        #expect(made.decoded == [])
    }

    @Test func valuesAreCompressedOnlyWhenThatSavesAnEighth() {
        #expect(EncodedRecord(value: EncodedRecord.noise(4096, seed: 1)).flags == 0)
        #expect(EncodedRecord(value: [UInt8](repeating: 1, count: 63)).flags == 0)
        let tenth = EncodedRecord.noise(3686, seed: 1) + [UInt8](repeating: 0, count: 410)
        #expect(EncodedRecord(value: tenth).flags == 0)
        let fifth = EncodedRecord.noise(3277, seed: 1) + [UInt8](repeating: 0, count: 819)
        #expect(EncodedRecord(value: fifth).flags == Record.compressed)
        let even = EncodedRecord(value: [UInt8](repeating: 1, count: 4096))
        #expect(even.flags == Record.compressed)
        #expect(even.byteCount <= Record.headerSize + 3 + 4096 - 4096 / 8)
    }

    @Test func valuesAboveTheLimitAreNotCompressed() {
        let limit = Record.compressionLimit
        #expect(EncodedRecord(value: [UInt8](repeating: 1, count: limit)).flags == Record.compressed)
        #expect(EncodedRecord(value: [UInt8](repeating: 1, count: limit + 1)).flags == 0)
    }

    @Test(arguments: [false, true]) func everyFlippedBitIsDetected(_ compresses: Bool) {
        let value = compresses ? [UInt8](repeating: 9, count: 700) : EncodedRecord.noise(100, seed: 2)
        let made = EncodedRecord(value: value, expiry: 5)
        #expect((made.flags == Record.compressed) == compresses)
        for bit in 0..<made.byteCount * 8 {
            made.flip(bit: bit)
            guard !made.isSound(available: made.byteCount) else {
                Issue.record("bit \(bit) flipped and nobody sees it")
                return
            }
            made.flip(bit: bit)
        }
        #expect(made.decoded == value)
    }

    @Test func aCutRecordIsRefused() {
        let made = EncodedRecord(value: EncodedRecord.noise(100, seed: 3))
        for available in 0..<made.byteCount {
            guard !made.isSound(available: available) else {
                Issue.record("\(available) of \(made.byteCount) bytes pass")
                return
            }
        }
        #expect(made.isSound(available: made.byteCount))
        #expect(made.isSound(available: made.byteCount + 1))
    }

    @Test(arguments: [0, 1, 699, 701, (128 << 10) + 1, UInt32(Int32.max) + 1, .max])
    func lengthsThatContradictEachOtherAreRefused(_ valueCount: UInt32) {
        let flat = EncodedRecord(value: EncodedRecord.noise(700, seed: 4))
        flat.forge(valueCount, at: 32)
        #expect(flat.decoded == nil)
        let packed = EncodedRecord(value: [UInt8](repeating: 9, count: 700))
        packed.forge(valueCount, at: 32)
        #expect(packed.decoded == nil)
    }

    @Test func aKeyLongerThanTheRecordIsRefused() {
        let made = EncodedRecord(value: [1])
        made.forge(5, at: 36)
        #expect(made.decoded == nil)
        made.forge(.max, at: 36)
        #expect(made.decoded == nil)
    }

    @Test func zeroBytesAreNoRecord() {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
        #expect(!Record(memory).isSound(available: 4096))
    }

    @Test func relocatingChangesNothingButTheSegmentVersion() {
        let value = [UInt8](repeating: 5, count: 3000)
        let made = EncodedRecord(value: value, expiry: 77)
        let moved = EncodedRecord(value: value)
        made.relocate(to: moved, segmentVersion: 99)
        #expect(moved.segmentVersion == 99)
        #expect(moved.expiry == 77)
        #expect(moved.sequence == 42)
        #expect(moved.keyText == "key")
        #expect(moved.decoded == value)
    }
}
