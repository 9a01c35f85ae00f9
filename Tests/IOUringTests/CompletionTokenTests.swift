import IOUring
import Testing

@Suite struct CompletionTokenTests {
    // Method: pack extreme and ordinary parts, read each back, compare with the documented bits.
    @Test func partsSurviveTheRoundTrip() {
        for kind in [UInt8(0), 1, 0x80, 0xFF] {
            for generation in [UInt32(0), 1, 0x80_0000, 0xFF_FFFF] {
                for slot in [UInt32(0), 1, 0x8000_0000, .max] {
                    let token = CompletionToken(kind: kind, generation: generation, slot: slot)
                    #expect(token.kind == kind)
                    #expect(token.generation == generation)
                    #expect(token.slot == slot)
                    #expect(CompletionToken(bits: token.bits) == token)
                }
            }
        }
        let token = CompletionToken(kind: 0xAB, generation: 0x123456, slot: 0x789ABCDE)
        #expect(token.bits == 0xAB12_3456_789A_BCDE)
    }

    // Method: a generation past 24 bits must wrap and must not leak into the kind.
    @Test func generationWraps() {
        let token = CompletionToken(kind: 2, generation: 0x100_0001, slot: 9)
        #expect(token.generation == 1)
        #expect(token.kind == 2)
    }

    // Method: build completions from the kernel's flags (buffer 1, more 2, unread 4).
    @Test func completionReadsItsFlags() {
        let lent = Completion(token: CompletionToken(bits: 0), result: 5, flags: 0xBEEF_0003)
        #expect(lent.bufferID == 0xBEEF)
        #expect(lent.hasMore && !lent.hasUnreadBytes && lent.failure == nil)
        let failed = Completion(token: CompletionToken(bits: 0), result: -105, flags: 0xBEEF_0004)
        #expect(failed.bufferID == nil)
        #expect(!failed.hasMore && failed.hasUnreadBytes && failed.failure == 105)
    }
}
