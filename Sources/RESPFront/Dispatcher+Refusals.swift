import Primitives
import RESPWire
import TieredStore

// Requests that do not run, and what is said of them.
extension Dispatcher {
    func refusal(
        _ session: Session, _ command: Command, _ arguments: Arguments
    ) -> CommandError {
        if !command.accepts(wordCount: arguments.count) {
            return .message("ERR wrong number of arguments for '\(command.name)' command")
        }
        return .message("NOAUTH Authentication required.")
    }

    /// Answers a request that does not run. In a transaction nothing will run then.
    mutating func reject(_ front: Front, _ session: Session, _ error: CommandError) {
        let mark = session.output.count
        if front.call.command.name == "exec" {
            front.endTransaction(session)
            ErrorText.writeAbort(error, to: front.call.reply)
            // Redis 7.0 shows a refused EXEC, and no other refused command.
            if front.audience.count(.monitors) > 0 {
                front.showToMonitors(session, front.call.command, front.call.arguments)
            }
        } else {
            session.transaction?.isAborted = true
            ErrorText.write(error, command: front.call.command.name, to: front.call.reply)
        }
        front.countError(session.output.view(from: mark))
        if session.replyMode != .on { session.obeyReplyMode(mark) }
    }

    mutating func refuseUnknown(_ front: Front, _ session: Session, _ arguments: Arguments) {
        let message = Dispatcher.unknown(arguments)
        let mark = session.output.count
        session.transaction?.isAborted = true
        message.withView { front.call.reply.error($0) }
        front.countError(session.output.view(from: mark))
        if session.replyMode != .on { session.obeyReplyMode(mark) }
    }

    /// What is said of a command there is none of.
    static func unknown(_ arguments: Arguments) -> [UInt8] {
        var message = Array("ERR unknown command '".utf8) + shown(arguments[0])
        message += Array("', with args beginning with: ".utf8)
        let start = message.count
        for i in 1..<max(1, arguments.count) where message.count - start < 128 {
            message += [39] + shown(arguments[i]) + [39, 32]
        }
        return message
    }

    /// A word as Redis shows it in an error: up to 128 bytes, up to the first NUL.
    private static func shown(_ word: ByteView) -> [UInt8] {
        Array(word.prefix(128).array.prefix { $0 != 0 })
    }

    mutating func refuseSubcommand(
        _ front: Front, _ session: Session, _ command: Command, _ arguments: Arguments
    ) {
        if !session.isAuthenticated, !command.flags.contains(.noAuth) {
            front.call.command = command
            return reject(front, session, .message("NOAUTH Authentication required."))
        }
        let name = arguments[1].prefix(128).text
        front.call.command = command
        reject(front, session, .message(
            "ERR unknown subcommand '\(name)'. Try \(command.name.uppercased()) HELP."))
    }
}
