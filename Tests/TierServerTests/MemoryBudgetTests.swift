import RESPFront
import Testing
import TieredStore

@testable import TierServer

/// What the store may take follows the resident set. Method: resident sets made up by the test; the
/// baseline is this process's own, read back from the first limit.
@Suite struct MemoryBudgetTests {
    private let configuration: Configuration
    private let store: Store
    private let budget: MemoryBudget
    private let limit = 1 << 30

    init() throws {
        configuration = try Configuration.load(arguments: ["--maxmemory", "1gb"])
        var options = StoreOptions.tiny
        options.addressSpace = 4 << 30
        store = try #require(Store(options))
        budget = MemoryBudget(configuration: configuration, store: store)
        budget.baseline(resident: 40 << 20)
    }

    /// The limit with `resident` bytes at most, before any correction.
    private func uncorrected(clientBytes: Int = 0) -> Int {
        budget.adjust(clientBytes: clientBytes, resident: 0)
        return store.ledger.limit
    }

    @Test func othersAreSubtracted() {
        let free = uncorrected()
        #expect(free < limit - limit / 100)
        #expect(free > limit / 10 * 7, "the baseline is small")
        #expect(uncorrected(clientBytes: 100 << 20) == free - 100 << 20)
        #expect(uncorrected(clientBytes: 1 << 40) == limit / 4, "a quarter is left to the store")
    }

    @Test func whatIsAboveTheLimitIsGivenBackSlowly() {
        let free = uncorrected()
        budget.adjust(clientBytes: 0, resident: limit + 50 << 20)
        #expect(store.ledger.limit == free - 50 << 20)
        // It adds up while it lasts, to a quarter at most.
        budget.adjust(clientBytes: 0, resident: limit + 30 << 20)
        #expect(store.ledger.limit == free - 80 << 20)
        budget.adjust(clientBytes: 0, resident: 3 * limit)
        #expect(store.ledger.limit == free - limit / 4)
        // Near the limit it stays; below 97 % of it, it shrinks by a thousandth a time.
        budget.adjust(clientBytes: 0, resident: limit / 100 * 98)
        #expect(store.ledger.limit == free - limit / 4)
        budget.adjust(clientBytes: 0, resident: limit / 100 * 96)
        #expect(store.ledger.limit == free - limit / 4 + limit / 1000)
        for _ in 0..<250 { budget.adjust(clientBytes: 0, resident: limit / 2) }
        #expect(store.ledger.limit == free)
    }

    @Test func aChangedSettingCounts() throws {
        let free = uncorrected()
        configuration.maxmemory = 2 << 30
        #expect(uncorrected() == free + 1 << 30 - (1 << 30) / 100)
        configuration.maxmemory = 1 << 50
        #expect(uncorrected() == store.options.memoryLimitMax, "slabs must not run out of addresses")
    }

    @Test func theResidentSetIsRead() {
        let resident = budget.residentSetSize()
        #expect(resident > 1 << 20 && resident < MemoryBudget.machineBytes)
    }
}
