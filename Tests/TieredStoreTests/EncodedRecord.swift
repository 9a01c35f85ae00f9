import CSystem
import Primitives

@testable import TieredStore

/// A record in memory of its own, aligned as in a buffer. Its fields are asked of it, not of a
/// `Record`, which would not keep the memory alive.
@dynamicMemberLookup
final class EncodedRecord {
    let memory: UnsafeMutableRawPointer
    let byteCount: Int

    init(
        key: [UInt8] = Array("key".utf8), value: [UInt8], expiry: Int64? = nil, database: Int = 3,
        type: ValueType = .string, segmentVersion: UInt32 = 7
    ) {
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: Record.bound(keyCount: key.count, valueCount: value.count) + 8, alignment: 8)
        self.memory = memory
        byteCount = key.withView { keyView in
            value.withView { valueView in
                let content = Record.Content(
                    hash: 0x0123_4567_89ab_cdef, sequence: 42, database: database, type: type,
                    expiry: expiry, key: keyView, value: valueView, segmentVersion: segmentVersion)
                return Record.encode(content, at: memory)
            }
        }
    }

    deinit { memory.deallocate() }

    subscript<Field>(dynamicMember field: KeyPath<Record, Field>) -> Field {
        Record(memory)[keyPath: field]
    }

    var keyText: String { Record(memory).key.text }
    var payloadText: String { Record(memory).payload.text }

    func isSound(available: Int) -> Bool { Record(memory).isSound(available: available) }

    func relocate(to other: EncodedRecord, segmentVersion: UInt32) {
        Record(memory).relocate(to: other.memory, segmentVersion: segmentVersion)
    }

    /// The value a reader gets, nil when it is refused.
    var decoded: [UInt8]? {
        let record = Record(memory)
        guard record.isSound(available: byteCount) else { return nil }
        let count = record.valueCount
        let value = UnsafeMutableRawPointer.allocate(byteCount: max(1, count), alignment: 1)
        defer { value.deallocate() }
        guard record.decode(into: value) else { return nil }
        return Array(UnsafeRawBufferPointer(start: value, count: count))
    }

    func flip(bit: Int) {
        let old = memory.load(fromByteOffset: bit >> 3, as: UInt8.self)
        memory.storeBytes(of: old ^ 1 << UInt8(bit & 7), toByteOffset: bit >> 3, as: UInt8.self)
    }

    /// Overwrites a 32-bit field and makes the checksum right again, as no disk would.
    func forge(_ value: UInt32, at offset: Int) {
        memory.storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
        memory.storeBytes(of: csystem_crc32c(0, memory + 4, byteCount - 4), as: UInt32.self)
    }

    static func noise(_ count: Int, seed: UInt64) -> [UInt8] {
        var random = Random(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }
}
