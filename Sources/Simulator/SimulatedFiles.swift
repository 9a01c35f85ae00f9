import Glibc
import Primitives
import RESPFront
import TieredStore

/// A file of the simulated disk: what is in it, and which of that a loss of power may take.
final class SimulatedFile {
    static let sector = 512
    /// As the page cache has it.
    private(set) var content: [UInt8]
    /// As the disk has it for certain.
    private var durable: [UInt8]
    /// Sectors written since they were made durable, and in which turn.
    private var dirty: [Int: Int] = [:]

    init(_ content: [UInt8] = []) {
        self.content = content
        durable = content
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int, turn: Int, durably: Bool) {
        SimulatedFile.put(bytes, at: offset, into: &content)
        let last = (offset + max(1, bytes.count) - 1) / SimulatedFile.sector
        for sector in offset / SimulatedFile.sector...last {
            if durably { settle(sector) } else { dirty[sector] = turn }
        }
    }

    /// What was written up to a turn is durable.
    func sync(upTo turn: Int) {
        for (sector, written) in dirty {
            let isNewer = written > turn
            settle(sector)
            if isNewer { dirty[sector] = written }
        }
    }

    private func settle(_ sector: Int) {
        let start = sector * SimulatedFile.sector
        let end = min(start + SimulatedFile.sector, content.count)
        content[start..<end].withUnsafeBytes { SimulatedFile.put($0, at: start, into: &durable) }
        dirty[sector] = nil
    }

    private static func put(
        _ bytes: UnsafeRawBufferPointer, at offset: Int, into target: inout [UInt8]
    ) {
        if target.count < offset + bytes.count {
            target += [UInt8](repeating: 0, count: offset + bytes.count - target.count)
        }
        target.withUnsafeMutableBytes {
            let place = $0[offset..<(offset + bytes.count)]
            UnsafeMutableRawBufferPointer(rebasing: place).copyMemory(from: bytes)
        }
    }

    func truncate(to count: Int) {
        if content.count > count { content.removeLast(content.count - count) }
        if durable.count > count { durable.removeLast(durable.count - count) }
        for sector in dirty.keys where sector * SimulatedFile.sector >= count { dirty[sector] = nil }
    }

    /// What is there after the power was lost: each sector that was not durable is kept or not.
    func remains(_ random: inout Random) -> [UInt8] {
        var image = durable
        let share = random.below(3)
        for sector in dirty.keys.sorted() where random.below(2) < share {
            let start = sector * SimulatedFile.sector
            let end = min(start + SimulatedFile.sector, content.count)
            content[start..<end].withUnsafeBytes { SimulatedFile.put($0, at: start, into: &image) }
        }
        return image
    }
}

/// The data directory and the tier file in memory: requests end late and in any order, fail when told to,
/// and what was not made durable may be gone after a crash.
final class SimulatedFiles: DataDirectory {
    private var files: [String: SimulatedFile] = [:]
    /// By number, the tier file first.
    private var open: [(name: String, file: SimulatedFile)?]
    private var pending = PendingRequests()
    private var turn: Int { pending.turn }
    /// Requests so far, and the one that fails; 0: none.
    private(set) var requests = 0
    private let failing: Int
    private(set) var failed = 0

    init(tier: String, failing: Int) {
        self.failing = failing
        let file = SimulatedFile()
        files[tier] = file
        open = [(tier, file)]
    }

    // MARK: Requests

    var isIdle: Bool { pending.isEmpty }

    func submit(_ request: DiskRequest, _ random: inout Random) {
        pending.add(request, delay: 6, &random)
    }

    /// Completes what is due, in an order of its own.
    func advance(_ worker: StoreWorker) {
        for item in pending.advance() {
            worker.complete(item.request.token, result: carryOut(item.request, item.begun))
        }
    }

    func carryOut(_ worker: StoreWorker) {
        while let request = worker.takeRequest() {
            worker.complete(request.token, result: carryOut(request, turn))
        }
    }

    private func carryOut(_ request: DiskRequest, _ begun: Int) -> Int {
        requests += 1
        if requests == failing {
            failed += 1
            return -Int(EIO)
        }
        guard let file = open[Int(request.file.number)]?.file else { return -Int(EBADF) }
        switch request.kind {
        case .allocate: return 0
        case .sync: file.sync(upTo: begun)
        case .write, .durableWrite:
            file.write(
                UnsafeRawBufferPointer(start: request.memory!, count: request.length), at: request.offset,
                turn: turn, durably: request.kind == .durableWrite)
        case .read:
            let count = max(0, min(request.length, file.content.count - request.offset))
            memset(request.memory!, 0, request.length)
            file.content.withUnsafeBytes { bytes in
                if count > 0 {
                    request.memory!.copyMemory(from: bytes.baseAddress! + request.offset, byteCount: count)
                }
            }
        }
        return request.kind == .sync ? 0 : request.length
    }

    // MARK: A crash

    /// Writes what remains of all files under `directory`. `power`: it was lost; else only the process was.
    func crash(into directory: String, power: Bool, _ random: inout Random) {
        for item in pending.items where [.write, .durableWrite].contains(item.request.kind) {
            tear(item.request, power, &random)
        }
        for name in names {
            let file = files[name]!
            let image = power ? file.remains(&random) : file.content
            let handle = fopen(name, "w")
            precondition(handle != nil, "cannot write \(name)")
            fwrite(image, 1, image.count, handle)
            fclose(handle)
        }
    }

    /// A write that was under way has come as far as it has.
    private func tear(_ request: DiskRequest, _ power: Bool, _ random: inout Random) {
        guard let file = open[Int(request.file.number)]?.file else { return }
        for start in stride(from: 0, to: request.length, by: SimulatedFile.sector) {
            guard power ? random.below(2) == 0 : true else { continue }
            let count = min(SimulatedFile.sector, request.length - start)
            let piece = UnsafeRawBufferPointer(start: request.memory! + start, count: count)
            file.write(piece, at: request.offset + start, turn: turn, durably: true)
        }
    }

    /// Takes over what another life has left.
    func adopt(_ names: [String]) {
        for name in names {
            guard let bytes = FileBytes.read(name) else { continue }
            let file = SimulatedFile(bytes)
            files[name] = file
            if open[0]!.name == name { open[0]!.file = file }
        }
    }

    var tier: [UInt8] { open[0]!.file.content }
    /// Of files that remain: temporary ones have names without a place.
    var names: [String] { files.keys.filter { $0.hasPrefix("/") }.sorted() }

    // MARK: Names

    func create(_ name: String, isDirect: Bool) throws(FileFailure) -> DiskFile {
        let file = SimulatedFile()
        files[name] = file
        if let number = open.indices.first(where: { open[$0] == nil }) {
            open[number] = (name, file)
            return DiskFile(number: UInt8(number))
        }
        open.append((name, file))
        return DiskFile(number: UInt8(open.count - 1))
    }

    func close(_ file: DiskFile, as name: String) throws(FileFailure) {
        let (old, content) = open[Int(file.number)]!
        open[Int(file.number)] = nil
        files[old] = nil
        files[name] = content
    }

    func close(_ file: DiskFile, at byteCount: Int) {
        open[Int(file.number)]!.file.truncate(to: byteCount)
        open[Int(file.number)] = nil
    }

    func byteCount(_ file: DiskFile) -> Int { open[Int(file.number)]!.file.content.count }
    func byteCount(_ name: String) -> Int? { files[name]?.content.count }
    func makeDirectory(_ name: String) throws(FileFailure) {}
    func exists(_ name: String) -> Bool { files[name] != nil }
    func contents(_ name: String) -> [UInt8]? { files[name]?.content }

    func replace(_ name: String, with bytes: [UInt8]) throws(FileFailure) {
        files[name] = SimulatedFile(bytes)
    }

    func rename(_ name: String, to other: String) throws(FileFailure) {
        files[other] = files.removeValue(forKey: name)
    }

    func delete(_ name: String) { files[name] = nil }

    func discard(_ file: DiskFile) {
        files[open[Int(file.number)]!.name] = nil
        open[Int(file.number)] = nil
    }
}
