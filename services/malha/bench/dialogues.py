"""Calls written for this project, one in each language: what the demo plays, and what benchmarks speak where there are no recordings.

Numbers are written as words, as a recogniser writes them. None of these sentences is in the text the English language model is built from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

AGENT, CUSTOMER = "agent", "customer"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says before the other answers."""

    role: str
    text: str
    pause_seconds: float = 0.6
    """Silence after it."""


_ENGLISH = (
    Turn(AGENT, "Thank you for calling customer support. My name is Anna. How can I help you today?"),
    Turn(CUSTOMER, "Hello Anna. My internet connection is very slow and it stops working every evening."),
    Turn(AGENT, "I am sorry to hear that. Can I have your account number, please?", 0.8),
    Turn(CUSTOMER, "Yes, it is four seven two nine one five."),
    Turn(AGENT, "Thank you. I can see the problem here. We can send you a new router for free.", 0.7),
    Turn(CUSTOMER, "You sent me a router last month and it did not help. If you cannot fix it, I want to cancel my contract.", 0.7),
    Turn(AGENT, "I understand. I can send a technician to check your line tomorrow morning."),
    Turn(CUSTOMER, "All right. Will the price of my plan change?", 0.5),
    Turn(AGENT, "No, the price stays the same. Have a nice day. Goodbye.", 0.9),
)

_PORTUGUESE = (
    Turn(AGENT, "Obrigada por ligar para o atendimento ao cliente. Meu nome é Ana. Como posso ajudar?"),
    Turn(CUSTOMER, "Olá, Ana. A minha internet está muito lenta e cai toda noite."),
    Turn(AGENT, "Sinto muito por isso. O senhor pode me dizer o número da conta, por favor?", 0.8),
    Turn(CUSTOMER, "Sim, é quatro sete dois nove um cinco."),
    Turn(AGENT, "Obrigada. Já encontrei o problema. Nós podemos enviar um roteador novo, sem custo.", 0.7),
    Turn(CUSTOMER, "No mês passado já mandaram um roteador e não adiantou. Eu quero cancelar o contrato hoje.", 0.7),
    Turn(AGENT, "Eu entendo. Posso mandar um técnico verificar a sua linha amanhã de manhã."),
    Turn(CUSTOMER, "Está bem. O preço do meu plano vai mudar?", 0.5),
    Turn(AGENT, "Não, o preço continua o mesmo. Tenha um bom dia. Até logo.", 0.9),
)

_SPANISH = (
    Turn(AGENT, "Gracias por llamar a atención al cliente. Me llamo Ana. ¿En qué puedo ayudarle?"),
    Turn(CUSTOMER, "Hola, Ana. Mi conexión a internet va muy lenta y se corta todas las noches."),
    Turn(AGENT, "Lamento escuchar eso. ¿Me puede decir su número de cuenta, por favor?", 0.8),
    Turn(CUSTOMER, "Sí, es cuatro siete dos nueve uno cinco."),
    Turn(AGENT, "Gracias. Ya veo el problema. Podemos enviarle un router nuevo sin costo.", 0.7),
    Turn(CUSTOMER, "El mes pasado ya me enviaron un router y no sirvió de nada. Quiero cancelar el contrato hoy.", 0.7),
    Turn(AGENT, "Lo entiendo. Puedo enviar un técnico a revisar su línea mañana por la mañana."),
    Turn(CUSTOMER, "Está bien. ¿Va a cambiar el precio de mi plan?", 0.5),
    Turn(AGENT, "No, el precio sigue igual. Que tenga un buen día. Hasta luego.", 0.9),
)

DIALOGUES: Mapping[str, tuple[Turn, ...]] = MappingProxyType({"en": _ENGLISH, "pt": _PORTUGUESE, "es": _SPANISH})
"""By language."""
