import Glibc
import Primitives
import TieredStore

/// What the simulated disk does wrong, by chance. Shares of requests; each seed switches each on
/// or off, so that rare mixtures occur (swarm testing, Groce et al. 2012).
struct Faults {
    var readErrors = 0.0
    var writeErrors = 0.0
    var noSpace = 0.0
    var flippedBits = 0.0
    /// Most turns a request waits.
    var delay = 4

    init(_ random: inout Random) {
        if random.below(3) == 0 { readErrors = random.fraction() * 0.05 }
        if random.below(3) == 0 { writeErrors = random.fraction() * 0.05 }
        if random.below(4) == 0 { noSpace = random.fraction() * 0.05 }
        if random.below(4) == 0 { flippedBits = random.fraction() * 0.02 }
        delay = 1 + Int(random.below(20))
    }

    /// A read may fail or come back damaged: then a client may get an error, never a wrong value.
    var mayFailReads: Bool { readErrors > 0 || flippedBits > 0 }
}

/// A disk in memory that answers late, in any order, and fails when told to.
final class SimulatedDisk {
    private let space: AddressSpace
    private let faults: Faults
    private var pending = PendingRequests()
    private(set) var completed = 0
    private(set) var failed = 0

    init(byteCount: Int, faults: Faults) {
        guard let space = AddressSpace(byteCount: byteCount) else { fatalError("no address space") }
        self.space = space
        self.faults = faults
    }

    var isIdle: Bool { pending.isEmpty }

    func submit(_ request: DiskRequest, _ random: inout Random) {
        pending.add(request, delay: faults.delay, &random)
    }

    /// Completes what is due, in an order of its own.
    func advance(_ worker: StoreWorker, _ random: inout Random) {
        for item in pending.advance() {
            completed += 1
            worker.complete(item.request.token, result: carryOut(item.request, &random))
        }
    }

    private func carryOut(_ request: DiskRequest, _ random: inout Random) -> Int {
        let place = space.base + request.offset
        switch request.kind {
        case .read:
            if random.fraction() < faults.readErrors { return fail(EIO) }
            request.memory!.copyMemory(from: place, byteCount: request.length)
            if random.fraction() < faults.flippedBits {
                let at = Int(random.below(UInt64(request.length)))
                let byte = request.memory!.load(fromByteOffset: at, as: UInt8.self)
                request.memory!.storeBytes(
                    of: byte ^ UInt8(1 << random.below(8)), toByteOffset: at, as: UInt8.self)
                failed += 1
            }
            return request.length
        case .write, .durableWrite:
            if random.fraction() < faults.noSpace { return fail(ENOSPC) }
            if random.fraction() < faults.writeErrors {
                // A torn write: a part of it has arrived.
                let part = Int(random.below(UInt64(request.length)))
                place.copyMemory(from: request.memory!, byteCount: part)
                return fail(EIO)
            }
            place.copyMemory(from: request.memory!, byteCount: request.length)
            return request.length
        case .sync: return 0
        case .allocate:
            return random.fraction() < faults.noSpace ? fail(ENOSPC) : 0
        }
    }

    private func fail(_ code: Int32) -> Int {
        failed += 1
        return -Int(code)
    }
}
