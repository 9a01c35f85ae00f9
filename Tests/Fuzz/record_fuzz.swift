// libFuzzer entry point, built by tools/fuzz: no part of the package, compiled as one module with
// the sources of Primitives and TieredStore.
//
// Method: the first bytes choose what the rest is. As a block of the log it is scanned as tierctl
// does, each record in memory of exactly the size that is left, so that the address sanitizer sees
// any read past the end; once as it is and once with checksums put right, so that what stands
// behind them is reached. As key and value it is encoded, and must come back; one flipped bit must
// show. As superblock, segment table and segment header it is decoded and encoded again.

import CSystem

#if canImport(Glibc)
import Glibc
#endif

/// Memory of exactly `bytes`, at a multiple of 8.
private func with<R>(_ bytes: ArraySlice<UInt8>, _ body: (UnsafeMutableRawPointer) -> R) -> R {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 8)
    defer { memory.deallocate() }
    bytes.withUnsafeBytes {
        if let base = $0.baseAddress { memory.copyMemory(from: base, byteCount: $0.count) }
    }
    return body(memory)
}

private func encoded(_ key: [UInt8], _ value: [UInt8], _ number: UInt64) -> [UInt8] {
    let bound = Record.bound(keyCount: key.count, valueCount: value.count)
    return key.withView { key in
        value.withView { value in
            let content = Record.Content(
                hash: number &* 3, sequence: number, database: Int(number & 15), type: 1,
                expiry: number & 16 == 0 ? nil : Int64(truncatingIfNeeded: number >> 1), key: key,
                value: value)
            return with([UInt8](repeating: 0xa5, count: bound)[...]) { memory in
                let count = Record.encode(content, segmentVersion: 7, at: memory)
                precondition(count <= bound, "longer than its bound")
                let whole = ByteView(memory, count).array
                with(whole[...]) { aside in
                    Record(aside).copy(to: memory, segmentVersion: 8)
                    Record(memory).copy(to: aside, segmentVersion: 7)
                    precondition(ByteView(aside, count).array == whole, "copying")
                }
                return whole
            }
        }
    }
}

/// The value of a sound record, in memory of exactly its size; nil when it does not decode.
private func value(of record: Record) -> [UInt8]? {
    guard record.valueCount <= 1 << 20 else { return nil }
    return with([UInt8](repeating: 0, count: record.valueCount)[...]) {
        record.decode(into: $0) ? ByteView($0, record.valueCount).array : nil
    }
}

private func scan(_ bytes: ArraySlice<UInt8>, repairing: Bool) {
    var at = 0
    while at + Record.headerSize <= bytes.count {
        let left = bytes.dropFirst(at)
        let step: Int? = with(left) { memory in
            let record = Record(memory), count = record.byteCount
            if repairing, count >= Record.headerSize, count <= left.count {
                memory.storeBytes(of: csystem_crc32c(0, memory + 4, count - 4), as: UInt32.self)
            }
            guard record.isSound(available: left.count) else { return nil }
            precondition(record.key.count + record.payload.count + Record.headerSize == count, "lengths")
            if let value = value(of: record) {
                let again = encoded(record.key.array, value, record.sequence)
                with(again[...]) {
                    precondition(Record($0).key == record.key, "key")
                    precondition(soundValue(Record($0)) == value, "value")
                }
            }
            return (count + 7) & ~7
        }
        at = step.map { at + $0 } ?? (at + 4096) & ~4095
    }
}

private func soundValue(_ record: Record) -> [UInt8] {
    precondition(record.isSound(available: record.byteCount), "not sound as written")
    guard let value = value(of: record) else { preconditionFailure("does not decode as written") }
    return value
}

private func roundTrip(_ bytes: ArraySlice<UInt8>, keyCount: Int, repeats: Int, bit: Int) {
    let key = Array(bytes.prefix(keyCount)), rest = Array(bytes.dropFirst(keyCount))
    let value = Array(repeatElement(rest, count: repeats).joined())
    var record = encoded(key, value, UInt64(bit))
    with(record[...]) {
        precondition(Record($0).key.array == key && soundValue(Record($0)) == value, "round trip")
    }
    record[bit / 8 % record.count] ^= 1 << UInt8(bit & 7)
    with(record[...]) { precondition(!Record($0).isSound(available: record.count), "a flipped bit") }
}

private func tables(_ bytes: ArraySlice<UInt8>, repairing: Bool) {
    let segments = max(0, bytes.count - 4) / 16
    let block = Array(bytes.prefix(4096)) + [UInt8](repeating: 0, count: max(0, 4096 - bytes.count))
    with(block[...]) { memory in
        if repairing {
            memory.storeBytes(of: Superblock.magic, as: UInt64.self)
            let checked = memory.load(fromByteOffset: 8, as: UInt32.self) < 3 ? 48 : 4092
            memory.storeBytes(of: csystem_crc32c(0, memory, checked), toByteOffset: checked, as: UInt32.self)
        }
        if let found = try? Superblock(decoding: memory) {
            with(block[...]) {
                found.encode(to: $0)
                let again = try? Superblock(decoding: $0)
                precondition(
                    again?.headerSize == found.headerSize && again?.hashSeed == found.hashSeed
                        && again?.swaps == found.swaps && again?.segmentSize == found.segmentSize,
                    "superblock")
            }
        }
        if repairing {
            memory.storeBytes(of: SegmentHeader.magic, as: UInt64.self)
            memory.storeBytes(of: csystem_crc32c(0, memory, 28), toByteOffset: 28, as: UInt32.self)
        }
        _ = SegmentHeader.decode(
            memory, segment: Int(memory.load(fromByteOffset: 8, as: UInt32.self)), identity: 0)
    }
    with(bytes.prefix(segments * 16 + 4)) { memory in
        guard segments > 0 else { return }
        let count = segments * 16
        if repairing {
            memory.storeBytes(of: csystem_crc32c(0, memory, count), toByteOffset: count, as: UInt32.self)
        }
        let rows = Superblock.decodeTable(memory, segments: segments)
        precondition(rows == nil || rows!.count == segments, "segment table")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 4 else { return 0 }
    let data = Array(UnsafeBufferPointer(start: start, count: count))
    let bytes = data[4...]
    let word = Int(data[1]) << 8 | Int(data[2])
    switch data[0] & 3 {
    case 0: scan(bytes, repairing: data[0] & 4 != 0)
    case 1: tables(bytes, repairing: data[0] & 4 != 0)
    default: roundTrip(bytes, keyCount: word % (bytes.count + 1), repeats: Int(data[3]), bit: word * 7)
    }
    return 0
}
