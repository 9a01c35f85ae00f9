import Primitives
import RESPWire
import Testing

/// Method: appends and consumes at random beside an array that does the same; after each step both
/// hold the same bytes.
@Suite struct ReplyBufferTests {
    @Test func holdsWhatAnArrayWouldHold() {
        var random = Random(seed: 11)
        let buffer = ReplyBuffer(capacity: 1)
        var model: [UInt8] = []
        for step in 0..<5_000 {
            let n = Int(random.below(700))
            if random.below(100) < 52 {
                let piece = [UInt8](repeating: UInt8(truncatingIfNeeded: step), count: n)
                piece.withView { buffer.append($0) }
                model += piece
            } else {
                let taken = min(n, buffer.count)
                buffer.consume(taken)
                model.removeFirst(taken)
            }
            #expect(buffer.count == model.count)
            #expect(buffer.capacity >= buffer.count)
            if step % 16 == 0 { #expect(buffer.view.array == model) }
        }
    }

    @Test func memoryComesBackAfterALargeReply() {
        let buffer = ReplyBuffer(capacity: 4096)
        let large = [UInt8](repeating: 1, count: 1 << 20)
        large.withView { buffer.append($0) }
        buffer.shrink(to: 4096)
        #expect(buffer.capacity >= 1 << 20, "bytes not yet sent must stay")
        buffer.consume(large.count)
        buffer.shrink(to: 4096)
        #expect(buffer.capacity == 4096)
    }

    @Test func steadyTrafficDoesNotGrowIt() {
        let buffer = ReplyBuffer(capacity: 4096)
        let piece = [UInt8](repeating: 1, count: 1000)
        piece.withView { buffer.append($0) }
        for _ in 0..<1000 {
            piece.withView { buffer.append($0) }
            buffer.consume(1000)
        }
        #expect(buffer.capacity <= 8192)
    }
}
