import Glibc

/// Work that several threads do side by side, before the loops begin or after they have ended.
enum Parallel {
    private final class Share {
        let body: (Int) -> Void
        let index: Int
        init(_ body: @escaping (Int) -> Void, _ index: Int) {
            self.body = body
            self.index = index
        }
    }

    /// Runs `body` with 0 up to `count`, each on a thread, the calling one among them; returns when all have
    /// ended.
    static func run(_ count: Int, _ body: @escaping (Int) -> Void) {
        let threads = (1..<max(1, count)).map { start(Share(body, $0)) }
        body(0)
        for thread in threads { pthread_join(thread, nil) }
    }

    /// Runs `body` on a thread nobody waits for.
    static func detach(_ body: @escaping () -> Void) { pthread_detach(start(Share({ _ in body() }, 0))) }

    private static func start(_ share: Share) -> pthread_t {
        var thread = pthread_t()
        let status = pthread_create(&thread, nil, { pointer in
            let share = Unmanaged<Share>.fromOpaque(pointer!).takeRetainedValue()
            share.body(share.index)
            return nil
        }, Unmanaged.passRetained(share).toOpaque())
        precondition(status == 0, "cannot start a thread")
        return thread
    }
}
