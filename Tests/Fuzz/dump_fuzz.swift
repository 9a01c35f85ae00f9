// libFuzzer entry point, built by tools/fuzz: no part of the package, compiled as one module with
// the sources of Primitives and TieredStore.
//
// Method: the first byte is the RDB type, the rest the encoding of a value. What can be read is encoded again
// and must come back the same; the address sanitizer sees any read past the end.

import CSystem

nonisolated(unsafe) private let extents: Extents = {
    let ledger = Ledger(limit: 1 << 40)
    return Extents(AddressSpace(byteCount: 8 << 30)!, from: 4096, ledger: ledger)
}()

private func read(_ type: UInt8, _ bytes: [UInt8]) -> Structure? {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, bytes.count), alignment: 1)
    defer { memory.deallocate() }
    bytes.withUnsafeBytes {
        if let base = $0.baseAddress { memory.copyMemory(from: base, byteCount: $0.count) }
    }
    guard let decoder = StructureDecoder(
        rdbType: type, ByteView(memory, bytes.count), CellHeap(extents), Hash64(seed: 3))
    else { return nil }
    while true {
        switch decoder.step(budget: 3) {
        case .more: continue
        case .done: return decoder.remaining == 0 ? decoder.structure : nil
        case .failed: return nil
        }
    }
}

private func encoded(_ structure: Structure) -> [UInt8] {
    let count = structure.encodedBytes
    return [UInt8](unsafeUninitializedCapacity: count + 1) { buffer, used in
        var writer = RDBWriter(UnsafeMutableRawPointer(buffer.baseAddress!)), cursor: UInt64 = 0
        while structure.encode(&writer, &cursor, budget: 5) {}
        used = writer.at - UnsafeMutableRawPointer(buffer.baseAddress!)
        precondition(used == count, "not as long as it said")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 2 else { return 0 }
    let data = Array(UnsafeBufferPointer(start: start, count: count))
    guard let structure = read(data[0], Array(data[1...])) else { return 0 }
    let once = encoded(structure)
    guard let again = read(structure.rdbType, once) else {
        preconditionFailure("its own encoding cannot be read")
    }
    precondition(again.count == structure.count && encoded(again).count == once.count, "round trip")
    return 0
}
