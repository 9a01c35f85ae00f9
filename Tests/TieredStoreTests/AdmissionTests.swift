import Glibc
import Testing

@testable import TieredStore

/// The gate for writers when neither RAM nor SSD has room.
@Suite struct AdmissionTests {
    /// A store of two workers where nothing can leave RAM any more but by eviction.
    private func fullBench(_ policy: EvictionPolicy) throws -> StoreBench {
        let bench = try StoreBench { $0.workers = 2 }
        for i in 0..<200 { bench.set("\(i)", StoreBench.noise(3000, seed: UInt64(i))) }
        bench.store.policy = policy
        bench.store.log.isOutOfSpace = true
        bench.store.ledger.limit = bench.store.ledger.used
        return bench
    }

    private func isRefused(_ admission: Admission) -> Bool {
        if case .refused = admission { true } else { false }
    }

    /// Writers wait a second for a disk that refuses every write, and are refused from then on; when it works
    /// again they are let in.
    @Test func nobodyWaitsForADiskThatFails() throws {
        let bench = try StoreBench()
        for i in 0..<250 { bench.set("\(i)", StoreBench.noise(3000, seed: UInt64(i))) }
        bench.failures[.write] = -Int(EIO)
        bench.store.ledger.limit = bench.store.ledger.used
        var woken: [UInt32] = []
        for turn in 0..<200 where woken.isEmpty {
            if turn == 0 { #expect(!isRefused(bench.worker.admit(8192, token: 7))) }
            bench.turn()
            bench.worker.takeRunnable(into: &woken)
        }
        #expect(woken == [7] && bench.worker.counters.writeErrors > 1)
        #expect(isRefused(bench.worker.admit(8192, token: 7)))
        bench.failures = [:]
        for _ in 0..<200 where isRefused(bench.worker.admit(8192, token: 7)) { bench.turn() }
        bench.turn(50)
        guard case .go = bench.worker.admit(8192, token: 8) else {
            Issue.record("not let in")
            return
        }
    }

    private func holdingAll<R>(_ bench: StoreBench, _ body: () -> R) -> R {
        let stripes = bench.worker.stripes, count = bench.store.options.stripes
        for i in 0..<count { stripes.lock(i) }
        defer { for i in 0..<count { stripes.unlock(i) } }
        return body()
    }

    /// Evicting takes stripes: a command that holds some is sent to wait, and evicted for afterwards.
    /// Method: all stripes are held; who evicts then never comes back.
    @Test func nothingIsEvictedWhileStripesAreHeld() throws {
        let bench = try fullBench(.allKeysRandom)
        let first = holdingAll(bench) { bench.worker.admit(8192, token: 7, holding: true) }
        guard case .wait = first else {
            Issue.record("\(first)")
            return
        }
        #expect(bench.worker.counters.evictedKeys == 0)
        _ = bench.worker.background()
        #expect(bench.worker.counters.evictedKeys > 0)
        var woken: [UInt32] = []
        bench.worker.takeRunnable(into: &woken)
        #expect(woken == [7])
        let again = holdingAll(bench) { bench.worker.admit(8192, token: 7, holding: true) }
        guard case .go = again else {
            Issue.record("\(again)")
            return
        }
    }

    /// Who waits for an eviction that finds nothing is refused, and not for ever.
    @Test func whatFindsNoVictimIsRefused() throws {
        let bench = try fullBench(.volatileTTL)
        for wanted in [true, false, true, false] {
            let admission = bench.worker.admit(8192, token: 7, holding: true)
            var woken: [UInt32] = []
            switch admission {
            case .wait: #expect(wanted)
            case .refused: #expect(!wanted)
            case .go: Issue.record("there is no room")
            }
            _ = bench.worker.background()
            bench.worker.takeRunnable(into: &woken)
            #expect(woken == (wanted ? [7] : []))
        }
    }
}
