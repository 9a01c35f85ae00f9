import Testing

@testable import RESPFront

struct AOFManifestTests {
    @Test func whatWasWrittenIsRead() throws {
        let manifest = AOFManifest(parts: [
            AOFManifest.Part(name: "a b.1.base.rdb", number: 1, kind: .base),
            AOFManifest.Part(name: "x.3.incr.aof", number: 3, kind: .increment, first: 17),
            AOFManifest.Part(name: "x.2.incr.aof", number: 2, kind: .history),
        ])
        #expect(try AOFManifest(manifest.bytes) == manifest)
        #expect(manifest.nextBase == 3 && manifest.nextIncrement == 4)
    }

    /// The example in Redis 7.0 aof.c.
    @Test func redisManifestIsRead() throws {
        let text = """
            file appendonly.aof.2.base.rdb seq 2 type b
            file appendonly.aof.1.incr.aof seq 1 type h
            # a remark
            file appendonly.aof.3.incr.aof seq 3 type i
            file appendonly.aof.5.incr.aof seq 5 type i

            """
        let manifest = try AOFManifest(Array(text.utf8))
        #expect(manifest.base?.name == "appendonly.aof.2.base.rdb")
        #expect(manifest.increments.map(\.number) == [3, 5])
        #expect(manifest.increments.allSatisfy { $0.first == nil })
    }

    @Test(arguments: [
        "", "file", "file a seq 1", "file a seq 0 type b", "file a seq x type b", "file a seq 1 type z",
        "file ../a seq 1 type b", "file a seq 1 type b\nfile b seq 2 type b",
        "file a seq 2 type i\nfile b seq 1 type i", "file \"a seq 1 type b", "type b seq 1",
    ])
    func whatMakesNoSenseIsRefused(text: String) {
        #expect(throws: AOFManifest.Failure.self) { try AOFManifest(Array(text.utf8)) }
    }
}
