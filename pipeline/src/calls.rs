//! A program with its calls changed, and all else as it was: each part of it keeps its place.

use vrl::parser::{
    Program, Span,
    ast::{
        Abort, Assignment, Block, Container, Expr, FunctionArgument, FunctionCall, FunctionClosure, Group, Ident,
        IfStatement, Node, Not, Op, Predicate, Query, QueryTarget, Return, RootExpr, Unary,
    },
};

/// Changes each call of a program; those within a call come before it.
pub(crate) fn changed(Program(statements): Program, change: &mut dyn FnMut(FunctionCall) -> FunctionCall) -> Program {
    let mut calls = Calls(change);
    let mut statement = |statement: RootExpr| match statement {
        RootExpr::Expr(expression) => RootExpr::Expr(*calls.expression(Box::new(expression))),
        RootExpr::Error(error) => RootExpr::Error(error),
    };
    Program(statements.into_iter().map(|node| node.map(&mut statement)).collect())
}

/// Expressions hold each other 200 deep and are large: what calls itself holds them in boxes, or the stack would not do.
type Boxed = Box<Node<Expr>>;

struct Calls<'a>(&'a mut dyn FnMut(FunctionCall) -> FunctionCall);

/// Changes what an expression of this kind consists of.
macro_rules! within {
    ($calls:ident, $node:ident, $kind:ident, $change:ident) => {
        $calls.within(
            $node,
            |whole| match whole {
                Expr::$kind(part) => Some(part),
                _ => None,
            },
            Expr::$kind,
            Self::$change,
        )
    };
}

impl Calls<'_> {
    fn expression(&mut self, node: Boxed) -> Boxed {
        match node.inner() {
            Expr::Literal(_) | Expr::Variable(_) | Expr::Break(_) => node,
            Expr::Container(_) => within!(self, node, Container, container),
            Expr::IfStatement(_) => within!(self, node, IfStatement, branches),
            Expr::Op(_) => within!(self, node, Op, operation),
            Expr::Assignment(_) => within!(self, node, Assignment, assignment),
            Expr::Query(_) => within!(self, node, Query, query),
            Expr::FunctionCall(_) => within!(self, node, FunctionCall, call),
            Expr::Unary(_) => within!(self, node, Unary, unary),
            Expr::Abort(_) => within!(self, node, Abort, abort),
            Expr::Return(_) => within!(self, node, Return, returned),
        }
    }

    fn within<T>(
        &mut self,
        node: Boxed,
        part: fn(Expr) -> Option<Node<T>>,
        whole: fn(Node<T>) -> Expr,
        change: fn(&mut Self, T) -> T,
    ) -> Boxed {
        let span = node.span();
        let (place, part) = part_of(node, part).take();
        let part = change(self, part);
        of_part(span, Node::new(place, part), whole)
    }

    fn each(&mut self, expressions: impl IntoIterator<Item = Node<Expr>>) -> Vec<Node<Expr>> {
        let mut changed = Vec::new();
        for expression in expressions.into_iter().map(Box::new).collect::<Vec<_>>() {
            changed.push(self.expression(expression));
        }
        changed.into_iter().map(|expression| *expression).collect()
    }

    fn container(&mut self, container: Container) -> Container {
        match container {
            Container::Group(group) => {
                let (place, expression) = ungrouped(*group);
                grouped(place, self.expression(expression))
            }
            Container::Block(block) => Container::Block(self.block(block)),
            Container::Array(array) => {
                let (place, parts) = array.take();
                Container::Array(Node::new(place, self.each(parts).into_iter().collect()))
            }
            Container::Object(object) => {
                let (place, parts) = object.take();
                let (names, parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
                Container::Object(Node::new(place, names.into_iter().zip(self.each(parts)).collect()))
            }
        }
    }

    fn block(&mut self, block: Node<Block>) -> Node<Block> {
        let (place, statements) = block.take();
        Node::new(place, Block(self.each(statements)))
    }

    fn branches(&mut self, IfStatement { predicate, if_node, else_node }: IfStatement) -> IfStatement {
        let (place, predicate) = predicate.take();
        let predicate = match predicate {
            Predicate::One(condition) => Predicate::One(self.expression(condition)),
            Predicate::Many(conditions) => Predicate::Many(self.each(conditions)),
        };
        let (predicate, if_node) = (Node::new(place, predicate), self.block(if_node));
        IfStatement { predicate, if_node, else_node: else_node.map(|otherwise| self.block(otherwise)) }
    }

    fn operation(&mut self, Op(left, operator, right): Op) -> Op {
        Op(self.expression(left), operator, self.expression(right))
    }

    fn assignment(&mut self, assignment: Assignment) -> Assignment {
        match assignment {
            Assignment::Single { target, op, expr } => Assignment::Single { target, op, expr: self.expression(expr) },
            Assignment::Infallible { ok, err, op, expr } => {
                Assignment::Infallible { ok, err, op, expr: self.expression(expr) }
            }
        }
    }

    fn query(&mut self, Query { target, path }: Query) -> Query {
        let (place, target) = target.take();
        let target = match target {
            QueryTarget::Internal(_) | QueryTarget::External(_) => target,
            QueryTarget::FunctionCall(call) => QueryTarget::FunctionCall(self.call(call)),
            QueryTarget::Container(container) => QueryTarget::Container(self.container(container)),
        };
        Query { target: Node::new(place, target), path }
    }

    fn unary(&mut self, Unary::Not(not): Unary) -> Unary {
        let (place, not) = not.take();
        let (sign, expression) = not.take();
        Unary::Not(Node::new(place, Not::new(sign.span(), *self.expression(expression))))
    }

    fn abort(&mut self, Abort { message }: Abort) -> Abort {
        Abort { message: message.map(|message| self.expression(message)) }
    }

    fn returned(&mut self, Return { expr }: Return) -> Return {
        Return { expr: self.expression(expr) }
    }

    fn call(&mut self, FunctionCall { ident, abort_on_error, arguments, closure }: FunctionCall) -> FunctionCall {
        let (names, expressions): (Vec<_>, Vec<_>) = arguments.into_iter().map(named).unzip();
        let arguments = names.into_iter().zip(self.each(expressions)).map(argument).collect();
        let closure = closure.map(|closure| {
            let (place, FunctionClosure { variables, block }) = closure.take();
            Node::new(place, FunctionClosure { variables, block: self.block(block) })
        });
        (self.0)(FunctionCall { ident, abort_on_error, arguments, closure })
    }
}

fn part_of<T>(node: Boxed, part: fn(Expr) -> Option<Node<T>>) -> Node<T> {
    part((*node).into_inner()).expect("its kind was looked at")
}

fn of_part<T>(span: Span, part: Node<T>, whole: fn(Node<T>) -> Expr) -> Boxed {
    Box::new(Node::new(span, whole(part)))
}

fn ungrouped(group: Node<Group>) -> (Span, Boxed) {
    let (place, group) = group.take();
    (place, Box::new(group.into_inner()))
}

fn grouped(place: Span, expression: Boxed) -> Container {
    Container::Group(Box::new(Node::new(place, Group(*expression))))
}

/// What an argument is beside its expression.
type Name = (Span, Option<Node<Ident>>);

fn named(argument: Node<FunctionArgument>) -> (Name, Node<Expr>) {
    let (place, FunctionArgument { ident, expr }) = argument.take();
    ((place, ident), expr)
}

fn argument(((place, ident), expr): (Name, Node<Expr>)) -> Node<FunctionArgument> {
    Node::new(place, FunctionArgument { ident, expr })
}
