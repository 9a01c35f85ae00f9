// libFuzzer entry point, built by tools/fuzz: no part of the package, compiled as one module with
// the sources of Primitives and TieredStore.
//
// Method: the first byte says how long the pieces are, the rest is an RDB file, or its items when the second
// byte is not an R. It is read in such pieces and whole: the same must come out. A value that can be decoded
// must end where the file's reader said it ends. The checksum is not compared: nothing would get past it.

import CSystem

nonisolated(unsafe) private let extents: Extents = {
    let ledger = Ledger(limit: 1 << 40)
    return Extents(AddressSpace(byteCount: 8 << 30)!, from: 4096, ledger: ledger)
}()

private func decode(_ entry: RDBFile.Entry) {
    if entry.type == RDBType.string {
        var reader = RDBReader(entry.encoding)
        _ = reader.string()
        precondition(reader.failed || reader.remaining == 0, "a string ends elsewhere")
        return
    }
    guard let decoder = StructureDecoder(
        rdbType: entry.type, entry.encoding, CellHeap(extents), Hash64(seed: 3))
    else { preconditionFailure("a type that is no collection's") }
    while true {
        switch decoder.step(budget: 3) {
        case .more: continue
        case .done: return precondition(decoder.remaining == 0, "a value ends elsewhere")
        case .failed: return
        }
    }
}

/// What is read, as a checksum of all events, with how it ended.
private func read(_ bytes: ByteView, piece: Int, decodes: Bool) -> [UInt64] {
    let file = RDBFile(modules: .skipped, checks: false, valueBytesMax: 1 << 20)
    var events: [UInt64] = [], at = 0
    func note(_ kind: UInt64, _ first: ByteView = .empty, _ second: ByteView = .empty) {
        events.append(CRC64.checksum(second, after: CRC64.checksum(first, after: kind)))
    }
    do throws(RDBFileError) {
        while true {
            while let event = try file.next() {
                switch event {
                case .version(let version): note(UInt64(version))
                case .auxiliary(let key, let value): note(20, key, value)
                case .database(let number): note(21 + UInt64(number))
                case .sizes(let keys, let expiring): note(keys &+ 3 &* expiring)
                case .entry(let entry):
                    let facts = UInt64(entry.type) &+ UInt64(bitPattern: entry.expiry ?? 7)
                    note(facts, entry.key, entry.encoding)
                    if decodes { decode(entry) }
                case .library(let text): note(22, text)
                case .skipped(_, let key): note(23, key ?? .empty)
                case .end: note(24)
                }
            }
            if at == bytes.count { break }
            // At its exact size, so that the address sanitizer sees what is read behind it.
            let count = min(piece, bytes.count - at)
            file.feed(bytes[at..<at + count])
            at += count
        }
        file.finish()
        _ = try file.next()
        events.append(1)
    } catch {
        events.append(UInt64(error.offset) << 8 | UInt64(error.text.utf8.count))
    }
    return events
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 2 else { return 0 }
    let piece = Int(start[0]) % 40 + 1
    var bytes = Array(UnsafeBufferPointer(start: start + 1, count: count - 1))
    if bytes[0] != 82 { bytes = Array("REDIS0004".utf8) + bytes }
    bytes.withView { view in
        let whole = read(view, piece: view.count, decodes: true)
        let pieces = read(view, piece: piece, decodes: false)
        precondition(whole == pieces, "it matters how the bytes come")
    }
    return 0
}
