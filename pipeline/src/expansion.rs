//! Refuses what could make an enormous text of a small record in one expression; between expressions the budget looks after memory.
//!
//! `*` repeats texts, so it may be given numbers only. What surely is a number is told by the program's form. What is put between many
//! parts of a value must stand in the program.

use std::collections::BTreeSet;

use vrl::parser::{
    Program,
    ast::{
        Assignment, AssignmentOp, AssignmentTarget, Block, Container, Expr, FunctionArgument, FunctionCall,
        IfStatement, Literal, Node, Op, Opcode, Predicate, Query, QueryTarget, RootExpr, Unary,
    },
    template_string::StringSegment,
};

/// Functions that give a number, or nothing.
const NUMBERS: &[&str] = &[
    "abs",
    "ceil",
    "float",
    "floor",
    "int",
    "ip_aton",
    "length",
    "mod",
    "parse_bytes",
    "parse_duration",
    "parse_float",
    "parse_int",
    "round",
    "shannon_entropy",
    "strlen",
    "to_float",
    "to_int",
    "to_unix_timestamp",
];
/// Functions that put what they are given beside the value between its parts.
const SEPARATING: &[&str] = &["encode_key_value", "encode_logfmt", "flatten", "format_number", "sieve"];
/// How often a program is looked at: each look finds variables that take others with them.
const LOOKS: usize = 8;

/// What may make an enormous text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expansion {
    /// `*` of what may be a text.
    Repeats,
    /// What one of these functions puts between parts comes from the record.
    Separates,
}

/// The first expression of a program that may make an enormous text, and its place in bytes.
pub(crate) fn look(Program(statements): &Program) -> Option<(usize, Expansion)> {
    let mut look = Look::default();
    for _ in 0..LOOKS {
        let known = look.others.clone();
        look = Look { others: known.clone(), ..Look::default() };
        statements.iter().cloned().map(Node::into_inner).for_each(|statement| look.statement(statement));
        if look.others == known {
            return look.found;
        }
    }
    look.found.or(look.multiplies)
}

#[derive(Default)]
struct Look {
    /// Variables that were given a number so far.
    numbers: BTreeSet<String>,
    /// Variables that are given something else anywhere.
    others: BTreeSet<String>,
    found: Option<(usize, Expansion)>,
    /// The first `*` of all.
    multiplies: Option<(usize, Expansion)>,
}

impl Look {
    fn statement(&mut self, statement: RootExpr) {
        if let RootExpr::Expr(expression) = statement {
            self.is_number(expression);
        }
    }

    /// Looks at an expression; says whether it surely gives a number, where it gives anything.
    fn is_number(&mut self, node: Node<Expr>) -> bool {
        let place = node.start();
        match node.into_inner() {
            Expr::Literal(literal) => matches!(literal.into_inner(), Literal::Integer(_) | Literal::Float(_)),
            Expr::Container(container) => self.container(container.into_inner()),
            Expr::IfStatement(statement) => self.branches(statement.into_inner()),
            Expr::Op(operation) => self.operation(operation.into_inner(), place),
            Expr::Assignment(assignment) => self.assignment(assignment.into_inner()),
            Expr::Query(query) => self.query(query.into_inner()),
            Expr::FunctionCall(call) => self.call(call.into_inner()),
            Expr::Variable(name) => self.holds_number(&name),
            Expr::Unary(unary) => {
                let Unary::Not(not) = unary.into_inner();
                self.is_number(*not.into_inner().take().1);
                false
            }
            Expr::Abort(abort) => {
                abort.into_inner().message.map(|message| self.is_number(*message));
                false
            }
            Expr::Return(value) => {
                self.is_number(*value.into_inner().expr);
                false
            }
            Expr::Break(_) => false,
        }
    }

    fn holds_number(&self, name: &str) -> bool {
        self.numbers.contains(name) && !self.others.contains(name)
    }

    fn container(&mut self, container: Container) -> bool {
        match container {
            Container::Group(group) => return self.is_number(group.into_inner().into_inner()),
            Container::Block(block) => return self.block(block.into_inner()),
            Container::Array(array) => {
                for part in array.into_inner() {
                    self.is_number(part);
                }
            }
            Container::Object(object) => {
                for (_, part) in object.into_inner() {
                    self.is_number(part);
                }
            }
        }
        false
    }

    /// What its last statement gives.
    fn block(&mut self, block: Block) -> bool {
        block.into_iter().fold(false, |_, statement| self.is_number(statement))
    }

    fn branches(&mut self, statement: IfStatement) -> bool {
        match statement.predicate.into_inner() {
            Predicate::One(condition) => {
                self.is_number(*condition);
            }
            Predicate::Many(conditions) => {
                for condition in conditions {
                    self.is_number(condition);
                }
            }
        }
        let then = self.block(statement.if_node.into_inner());
        let otherwise = statement.else_node.map(|otherwise| self.block(otherwise.into_inner()));
        then && otherwise == Some(true)
    }

    fn operation(&mut self, Op(left, operator, right): Op, place: usize) -> bool {
        let (left, right) = (self.is_number(*left), self.is_number(*right));
        match operator.into_inner() {
            Opcode::Mul => {
                self.multiplies.get_or_insert((place, Expansion::Repeats));
                if !(left && right) {
                    self.found.get_or_insert((place, Expansion::Repeats));
                }
                true
            }
            Opcode::Sub | Opcode::Div => true,
            // A number and a text have no sum.
            Opcode::Add => left || right,
            Opcode::Or | Opcode::Err => left && right,
            _ => false,
        }
    }

    fn assignment(&mut self, assignment: Assignment) -> bool {
        match assignment {
            Assignment::Single { target, op, expr } => {
                let number = self.is_number(*expr) && op == AssignmentOp::Assign;
                self.assign(target.into_inner(), number);
                number
            }
            Assignment::Infallible { ok, err, op, expr } => {
                let number = self.is_number(*expr) && op == AssignmentOp::Assign;
                self.assign(ok.into_inner(), number);
                self.assign(err.into_inner(), false);
                false
            }
        }
    }

    fn assign(&mut self, target: AssignmentTarget, number: bool) {
        let (name, whole) = match target {
            AssignmentTarget::Internal(name, path) => (name, path.is_none_or(|path| path.is_root())),
            AssignmentTarget::Query(Query { target, path }) => match target.into_inner() {
                QueryTarget::Internal(name) => (name, path.into_inner().is_root()),
                _ => return,
            },
            AssignmentTarget::Noop | AssignmentTarget::External(_) => return,
        };
        let known = if number && whole { &mut self.numbers } else { &mut self.others };
        known.insert(name.into_inner());
    }

    fn query(&mut self, Query { target, path }: Query) -> bool {
        let is_whole = path.into_inner().is_root();
        let number = match target.into_inner() {
            QueryTarget::Internal(name) => self.holds_number(&name),
            QueryTarget::External(_) => false,
            QueryTarget::FunctionCall(call) => self.call(call),
            QueryTarget::Container(container) => self.container(container),
        };
        is_whole && number
    }

    fn call(&mut self, call: FunctionCall) -> bool {
        let separates = SEPARATING.contains(&&**call.ident);
        for (number, argument) in call.arguments.into_iter().enumerate() {
            let FunctionArgument { ident, expr } = argument.into_inner();
            let is_value = ident.as_ref().map_or(number == 0, |ident| &***ident == "value");
            if separates && !is_value && !is_literal(&expr) {
                self.found.get_or_insert((expr.start(), Expansion::Separates));
            }
            self.is_number(expr);
        }
        if let Some(function) = call.closure {
            let function = function.into_inner();
            self.others.extend(function.variables.into_iter().map(|name| name.into_inner().into_inner()));
            self.block(function.block.into_inner());
        }
        NUMBERS.contains(&&**call.ident)
    }
}

/// Whether it stands in the program as it is.
pub(crate) fn is_literal(node: &Node<Expr>) -> bool {
    match &**node {
        Expr::Literal(literal) => match &**literal {
            Literal::String(text) => text.0.iter().all(|part| matches!(part, StringSegment::Literal(..))),
            _ => true,
        },
        Expr::Container(container) => match &**container {
            Container::Group(group) => is_literal(&group.clone().into_inner().into_inner()),
            Container::Array(array) => array.clone().into_inner().into_iter().all(|part| is_literal(&part)),
            Container::Block(_) | Container::Object(_) => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use vrl::parser::parse;

    use super::*;

    fn first(program: &str) -> Option<(usize, Expansion)> {
        look(&parse(program).unwrap())
    }

    #[test]
    fn what_may_repeat_a_text_is_refused() {
        for program in [
            ".b = \"x\" * 1000000",
            ".b = .a * 3",
            ".b = \"x\" * int!(.n)",
            ".b = int!(.n) * string!(.a)",
            "x = 2\nx = string!(.a)\n.b = x * 3",
            "x = 2\nfor_each(array!(.a)) -> |_i, v| { .b = x * 3; x = v }",
            "x = 2\nx.a = \"b\"\n.b = x * 3",
            "x, error = int(.a) + 1\n.b = error * 2",
            "if .a == 1 { x = 1 } else { x = \"a\" }\n.b = x * 3",
            ".b = (.a ?? 2) * 3",
            ".b = (.x + .y) * 2",
            ".b = [{\"c\": .a * 2}]",
            ".b = map_values(object!(.a)) -> |v| { v * 2 }",
            "a = 1\nb = a\nc = b\n.d = c * 2\na = \"x\"",
            "x = 1\nx |= {\"a\": 1}\n.b = x * 2",
            "if (.a * 2 == 4) { .b = 1 }",
        ] {
            let found = first(program);
            let is_there = |(place, what)| what == Expansion::Repeats && program[place..].contains('*');
            assert!(found.is_some_and(is_there), "{program}: {found:?}");
        }
    }

    #[test]
    fn numbers_are_multiplied() {
        for program in [
            ".b = 2 * 3.5",
            ".b = to_float!(.a) * 100",
            ".b = round(to_float!(.price) * to_int!(.count) * 1.19, precision: 2)",
            "x = int!(.a)\n.b = x * x",
            "total = 0\nfor_each(array!(.items)) -> |_i, item| { total = total + int!(item.price) * int!(item.count) }\n.total = total",
            ".b = (int!(.a) + 1) * 2",
            ".b = (int(.a) ?? 0) * 2",
            "x = if .a == 1 { 2 } else { 3 }\n.b = x * 3",
            ".b = strlen(string!(.a)) * 2",
            "x, error = int(.a) + 1\n.b = x * 2",
            ".b = \"2 * 3\"",
        ] {
            assert_eq!(first(program), None, "{program}");
        }
    }

    #[test]
    fn what_separates_stands_in_the_program() {
        for (program, is_taken) in [
            (".a = flatten(object!(.b))", true),
            (".a = flatten(object!(.b), \"_\")", true),
            (".a = flatten(object!(.b), separator: \"{{ x }}\")", false),
            (".a = flatten(object!(.b), string!(.c))", false),
            (".a = flatten(separator: \"_\", value: object!(.b))", true),
            (".a = encode_key_value(object!(.b), [\"a\", \"b\"], \"=\", \"&\")", true),
            (".a = encode_key_value!(.b, array!(.fields))", false),
            (".a = sieve(string!(.b), r'[a-z]', replace_single: string!(.c))", false),
        ] {
            let found = first(program).map(|(_, what)| what);
            assert_eq!(found, (!is_taken).then_some(Expansion::Separates), "{program}");
        }
    }
}
