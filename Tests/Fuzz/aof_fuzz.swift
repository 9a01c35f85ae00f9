// libFuzzer entry point, built by tools/fuzz: no part of the package, compiled as one module with
// the sources of Primitives, TieredStore and RESPWire and the manifest's of RESPFront.
//
// Method: the first byte chooses what the rest is. As a file of commits it is read to its end, as it is or
// with checksums put right: sequences must follow each other, and what is read of the file cut off anywhere
// must be the beginning of what is read of all of it, never damage. As a manifest it is parsed, and what was
// understood must come back when it is written.

import CSystem
import Glibc

/// A file without a name, of whatever is being read.
private let descriptor: Int32 = {
    let descriptor = open("/tmp", O_RDWR | 0o20200000, 0o600)  // O_TMPFILE
    precondition(descriptor >= 0, "no file")
    return descriptor
}()

private func write(_ bytes: ArraySlice<UInt8>) {
    precondition(ftruncate(descriptor, 0) == 0, "not emptied")
    let done = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    precondition(done == bytes.count, "not written")
}

private struct Reading: Equatable {
    var records: [[UInt8]] = []
    var ends: [Int] = []
    var failure: CommitReader.Failure?
    var end = CommitReader.End.whole
}

private func read(_ bytes: ArraySlice<UInt8>, number: Int, expected: UInt64?) -> Reading {
    write(bytes)
    let reader = CommitReader(
        descriptor: descriptor, number: number, byteCount: bytes.count, expected: expected)
    var found = Reading(), last = expected.map { $0 &- 1 }
    do throws(CommitReader.Failure) {
        while let records = try reader.next() {
            found.records.append(records.array)
            found.ends.append(reader.offset)
            let sequence = reader.expected! - 1
            precondition(last == nil || sequence == last! &+ 1, "not the next sequence")
            precondition(found.ends.count == reader.count, "count")
            last = sequence
        }
        found.end = reader.end
        if case .torn(let offset) = found.end { precondition(offset <= bytes.count, "torn behind its end") }
    } catch { found.failure = error }
    let again = CommitReader(descriptor: descriptor, number: number, byteCount: bytes.count, expected: nil)
    if let last, last > 1, found.records.count > 1, found.failure == nil {
        // The reader may be asked of any sequence.
        _ = try? again.proves(last - 1)
    }
    return found
}

/// Puts right the checksums of the commits that stand one behind the other, and of those found behind them.
private func repair(_ bytes: inout [UInt8], number: Int) {
    var at = 0
    while at + Commit.headerSize <= bytes.count {
        let extent = bytes.withUnsafeMutableBytes { all -> Int? in
            let head = all.baseAddress! + at
            guard let commit = Commit(head, available: all.count - at) else { return nil }
            commit.seal(head, file: number)
            return commit.extent
        }
        at += extent ?? 1
    }
}

private func commits(_ data: [UInt8], repairing: Bool) {
    let number = Int(data[1]), cut = Int(data[2]) | Int(data[3]) << 8
    let expected: UInt64? = data[0] & 4 != 0 ? UInt64(data[0] >> 4) : nil
    var repaired = Array(data[4...])
    if repairing { repair(&repaired, number: number) }
    let bytes = repaired[...]
    let whole = read(bytes, number: number, expected: expected)
    guard whole.failure == nil else { return }
    let part = read(bytes.prefix(cut), number: number, expected: expected)
    precondition(part.failure == nil, "damaged by being cut off")
    precondition(part.records.count <= whole.records.count, "more than there was")
    precondition(part.records == Array(whole.records.prefix(part.records.count)), "another beginning")
    let fitting = whole.ends.filter { $0 <= bytes.prefix(cut).count }.count
    precondition(part.records.count >= fitting, "a whole commit is missing")
}

private func manifest(_ bytes: [UInt8]) {
    guard let found = try? AOFManifest(bytes) else { return }
    guard let again = try? AOFManifest(found.bytes)
    else { preconditionFailure("its own text cannot be read") }
    precondition(again == found, "round trip")
    precondition(found.increments.count + (found.base == nil ? 0 : 1) <= found.parts.count, "parts")
    _ = (found.nextBase, found.nextIncrement, found.checkpoint, found.isOwn)
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 5 else { return 0 }
    let data = Array(UnsafeBufferPointer(start: start, count: count))
    switch data[0] & 3 {
    case 0: commits(data, repairing: false)
    case 1: manifest(Array(data[1...]))
    default: commits(data, repairing: true)
    }
    return 0
}
