import Testing

@testable import TieredStore

/// Method: pages are marked and given back; a mark that is still there shows that the page kept its RAM.
@Suite struct PageArenaTests {
    private func marked(_ limit: Int, pages: Int) throws -> (store: Store, pages: [UInt32]) {
        var options = StoreOptions.tiny
        options.memoryLimit = limit
        let store = try #require(Store(options))
        let taken = try (0..<pages).map { _ in try #require(store.arena.take(reserve: 0)) }
        for page in taken { store.arena.address(page).storeBytes(of: 0x5a, as: UInt8.self) }
        return (store, taken)
    }

    private func warm(_ store: Store, _ pages: [UInt32]) -> [UInt32] {
        pages.filter { store.arena.address($0).load(as: UInt8.self) == 0x5a }
    }

    @Test func whileRAMIsShortAFewPagesKeepItAndAreTakenFirst() throws {
        let (store, pages) = try marked(1 << 20, pages: 250)
        defer { store.tearDown() }
        for page in pages { store.arena.give(page) }
        #expect(store.ledger.used == 0)
        let warm = warm(store, pages)
        // A 128th of the limit.
        #expect(warm.count * store.arena.pageSize == 8 << 10)
        let again = try pages.map { _ in try #require(store.arena.take(reserve: 0)) }
        #expect(Set(again.prefix(warm.count)) == Set(warm))
        #expect(Set(again) == Set(pages))
    }

    @Test func withRAMToSpareItGoesBackAtOnce() throws {
        let (store, pages) = try marked(1 << 20, pages: 200)
        defer { store.tearDown() }
        for page in pages { store.arena.give(page) }
        #expect(warm(store, pages).isEmpty)
    }
}
