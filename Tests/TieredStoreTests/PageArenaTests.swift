import Testing

@testable import TieredStore

/// Method: pages are marked and given back; a mark that is still there shows that the page kept its RAM.
@Suite struct PageArenaTests {
    @Test func theLastPagesGivenBackKeepTheirRAMUpToALimit() throws {
        var options = StoreOptions.tiny
        options.memoryLimit = 1 << 20
        let store = try #require(Store(options))
        defer { store.tearDown() }
        let arena = store.arena, used = store.ledger.used
        let pages = try (0..<5).map { _ in try #require(arena.take(reserve: 0)) }
        for page in pages { arena.address(page).storeBytes(of: 0x5a, as: UInt8.self) }
        #expect(store.ledger.used == used + 5 * arena.pageSize)
        for page in pages { arena.give(page) }
        #expect(store.ledger.used == used)
        let warm = pages.filter { arena.address($0).load(as: UInt8.self) == 0x5a }
        // A 128th of the limit.
        #expect(warm.count * arena.pageSize == 8 << 10)
        let again = try (0..<5).map { _ in try #require(arena.take(reserve: 0)) }
        #expect(Set(again.prefix(warm.count)) == Set(warm))
        #expect(Set(again) == Set(pages))
    }
}
