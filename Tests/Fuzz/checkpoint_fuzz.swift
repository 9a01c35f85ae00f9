// libFuzzer entry point, built by tools/fuzz: no part of the package, compiled as one module with
// the sources of Primitives and TieredStore.
//
// Method: the first byte chooses what is done, the rest is a checkpoint: as it is, or as its pieces, each
// behind two bytes of length, which are put where they belong. Checksums, the tier file's identity and
// lengths are put right if so chosen, so that what stands behind them is reached. It is loaded into a store
// as the server does it, and read as tierctl does. A store that takes it must have as many keys as it says,
// each of whose values can be dumped, and be empty again when it is emptied; one that refuses it is empty.

import CSystem
import Glibc

private struct Modes: OptionSet {
    let rawValue: UInt8
    static let isWhole = Modes(rawValue: 1)
    static let keepsChecksums = Modes(rawValue: 2)
    static let keepsLengths = Modes(rawValue: 4)
    static let isAfterCrash = Modes(rawValue: 8)
    static let keepsIdentity = Modes(rawValue: 16)
}

private let identity: UInt64 = 77, seed: UInt64 = 5

private func makeStore() -> Store {
    var options = StoreOptions.tiny
    options.databases = 4
    options.memoryLimit = 16 << 20
    options.addressSpace = 64 << 20
    options.tierCapacity = 1 << 20
    options.tierIdentity = identity
    options.hashSeed = seed
    return Store(options)!
}

private func put<T>(_ value: T, _ bytes: inout [UInt8], _ at: Int) {
    bytes.withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: at, as: T.self) }
}

private func word32(_ bytes: [UInt8], _ at: Int) -> Int {
    bytes.withUnsafeBytes { Int($0.loadUnaligned(fromByteOffset: at, as: UInt32.self)) }
}

private func checksum(_ bytes: [UInt8], _ range: Range<Int>) -> UInt32 {
    bytes.withUnsafeBytes { csystem_crc32c(0, $0.baseAddress! + range.lowerBound, range.count) }
}

// MARK: Repairs

private func repairHead(_ head: inout [UInt8], _ modes: Modes) {
    guard head.count >= CheckpointFormat.headFixed + 4 else { return }
    put(CheckpointFormat.magic, &head, 0)
    if !modes.contains(.keepsLengths) { put(UInt32(head.count), &head, 12) }
    if !modes.contains(.keepsIdentity) {
        put(identity, &head, 16)
        put(seed, &head, 32)
    }
    let count = word32(head, 12)
    guard !modes.contains(.keepsChecksums), count <= head.count, count >= 68 else { return }
    put(checksum(head, 0..<count - 4), &head, count - 4)
}

private func repairBlock(_ block: inout [UInt8], _ modes: Modes, magic: UInt32) {
    let head = CheckpointFormat.blockHead
    guard block.count >= head else { return }
    put(magic, &block, 0)
    if !modes.contains(.keepsLengths) { put(UInt64(block.count - head), &block, 8) }
    let count = word32(block, 8) + head
    guard !modes.contains(.keepsChecksums), count <= block.count else { return }
    put(checksum(block, 8..<count), &block, 4)
}

/// Pieces put where they belong: head, blocks, foot, each from a multiple of 4096 on, and the end.
private func assemble(_ bytes: ArraySlice<UInt8>, _ modes: Modes) -> [UInt8] {
    var pieces: [[UInt8]] = [], left = bytes
    while left.count >= 2, pieces.count < 16 {
        let count = min(left.count - 2, Int(left.first!) | Int(left.dropFirst().first!) << 8)
        left = left.dropFirst(2)
        pieces.append(Array(left.prefix(count)))
        left = left.dropFirst(count)
    }
    var file: [UInt8] = [], footAt = 0
    for (i, piece) in pieces.enumerated() {
        var piece = piece
        let isLast = i == pieces.count - 1
        if i == 0 {
            repairHead(&piece, modes)
        } else {
            let magic = isLast ? CheckpointFormat.footMagic : CheckpointFormat.blockMagic
            repairBlock(&piece, modes, magic: magic)
        }
        footAt = file.count
        let room = piece.count + (isLast ? CheckpointFormat.tail : 0)
        file += piece + [UInt8](repeating: 0, count: CheckpointFormat.padded(room) - piece.count)
    }
    guard file.count >= CheckpointFormat.tail else { return file }
    put(UInt64(footAt), &file, file.count - 16)
    put(CheckpointFormat.endMagic, &file, file.count - 8)
    return file
}

// MARK: Loading

private func keyCount(_ store: Store) -> Int {
    (0..<store.options.databases).reduce(0) { $0 + store.keyCount(database: $1) }
}

/// Every value in RAM can be made a payload of.
private func dumpEverything(_ store: Store) {
    let worker = store.workers[0], staged = StagedKeys(worker)
    for database in 0..<store.options.databases {
        var names: [[UInt8]] = []
        worker.forEachKey(database: database) { name, _ in names.append(name.array) }
        for name in names {
            name.withView { name in
                staged.add(name, hash: worker.hash(name), database: database)
                staged.lock()
                defer { staged.end() }
                precondition(staged.residency(0) != .absent, "a key that is not found")
                if staged.residency(0) == .demoted { return }
                precondition((try? staged.dump(0)) != nil, "a value that cannot be dumped")
            }
        }
    }
}

private func load(
    _ store: Store, _ file: [UInt8], isAfterCrash: Bool, _ read: @escaping CheckpointLoad.Read
) -> Bool {
    guard let load = try? CheckpointLoad(store, byteCount: file.count, read: read) else { return false }
    do throws(CheckpointError) {
        try load.begin(version: isAfterCrash ? { UInt32($0 % 3) } : nil)
        while load.hasMore { _ = load.takeBlocks(store.workers[0], isHurried: true) }
        try load.finish()
    } catch {
        load.undo()
        return false
    }
    precondition(keyCount(store) == load.keysLoaded, "keys")
    dumpEverything(store)
    for database in 0..<store.options.databases { _ = store.workers[0].flush(database: database) }
    return true
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 3 else { return 0 }
    let data = Array(UnsafeBufferPointer(start: start, count: count)), modes = Modes(rawValue: data[0])
    let file = modes.contains(.isWhole) ? Array(data[1...]) : assemble(data[1...], modes)
    let read: CheckpointLoad.Read = { target, count, offset in
        guard offset >= 0, count >= 0, count <= file.count - offset else { return false }
        file.withUnsafeBytes {
            if count > 0 { target.copyMemory(from: $0.baseAddress! + offset, byteCount: count) }
        }
        return true
    }
    let store = makeStore()
    defer { store.tearDown() }
    store.workers[0].setTime(milliseconds: 1_700_000_000_000, nanoseconds: 1)
    let isLoaded = load(store, file, isAfterCrash: modes.contains(.isAfterCrash), read)
    precondition(keyCount(store) == 0 && store.residentItems == 0, "it is not empty")
    precondition(store.log.liveBytes == 0, "something is alive in an empty store")
    var tier = Superblock(
        segmentSize: store.log.segmentSize, segmentCount: store.log.segmentCount, generation: 1,
        hashSeed: seed)
    tier.identity = identity
    let check = try? CheckpointCheck(byteCount: file.count, tier, version: { UInt32($0 % 3) }, read: read)
    if let check, isLoaded { precondition(check.keys >= 0 && check.addresses <= check.keys, "counts") }
    return 0
}
